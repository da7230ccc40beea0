package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/original"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// off is the address of a listener that is not wanted.
const off = kit.Off

// A settingError says what is wrong with a setting's text. It does not repeat texts that may hold a password.
type settingError struct{ message, hint string }

func (e *settingError) Error() string { return e.message }

// field points to where a setting is kept.
type field[T any] func(*config) *T

// setter reads a setting's text into its place.
type setter = func(*config, string) error

func text(to field[string]) setter {
	return func(c *config, s string) error { *to(c) = s; return nil }
}

// path is text that names a file or folder, relative to the working folder.
func path(to field[string]) setter { return text(to) }

func oneOf(to field[string], words ...string) setter {
	return func(c *config, s string) error {
		if !slices.Contains(words, s) {
			return &settingError{fmt.Sprintf("is %q", s), "one of " + strings.Join(words, ", ")}
		}
		*to(c) = s
		return nil
	}
}

func number(to field[int], least, most int) setter {
	return func(c *config, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return &settingError{fmt.Sprintf("is %q", s), fmt.Sprintf("a whole number from %d to %d", least, most)}
		}
		*to(c) = n
		return nil
	}
}

// size is a number of bytes, with or without a unit.
func size(to field[int], least, most int) setter {
	return func(c *config, s string) error {
		n, ok := parseBytes(s)
		if !ok || n < int64(least) || n > int64(most) {
			return &settingError{fmt.Sprintf("is %q", s), fmt.Sprintf("bytes from %d to %d, as in 512KiB or 4MiB", least, most)}
		}
		*to(c) = int(n)
		return nil
	}
}

// parseBytes reads a number of bytes, with or without one of the units KiB, MiB, GiB and TiB.
func parseBytes(s string) (int64, bool) {
	shift := 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			s, shift = strings.TrimSpace(digits), 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(s, 10, 62-shift)
	return int64(n) << shift, err == nil //nolint:gosec // bounded by the bit size
}

func period(to field[time.Duration]) setter {
	return func(c *config, s string) error {
		d, err := strictyaml.ParseDuration(s)
		if err != nil || d <= 0 {
			return &settingError{fmt.Sprintf("is %q", s), "a duration such as 20s, 15m, 24h or 7d"}
		}
		*to(c) = d
		return nil
	}
}

// periodOrNone is a period that may be none.
func periodOrNone(to field[time.Duration]) setter {
	return func(c *config, s string) error {
		if s == "0" || s == "0s" {
			*to(c) = 0
			return nil
		}
		return period(to)(c, s)
	}
}

func address(to field[string]) setter {
	return func(c *config, s string) error {
		if s == off {
			*to(c) = s
			return nil
		}
		_, port, err := net.SplitHostPort(s)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
			return &settingError{fmt.Sprintf("is %q", s), "host:port such as 127.0.0.1:8080; port 0 picks a free one"}
		} else if n == 0 && port != "0" {
			return &settingError{fmt.Sprintf("is %q", s), "write port 0 as 0"}
		}
		*to(c) = s
		return nil
	}
}

func databaseURL(to field[string]) setter {
	return func(c *config, s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" && u.Query().Get("host") == "" {
			return &settingError{"is not the URL of a PostgreSQL database", "postgres://user@host:5432/database?sslmode=verify-full"}
		}
		*to(c) = s
		return nil
	}
}

func natsURL(to field[string]) setter {
	return func(c *config, s string) error {
		for _, one := range strings.Split(s, ",") {
			u, err := url.Parse(strings.TrimSpace(one))
			if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
				return &settingError{"is not a list of NATS URLs", "nats://host:4222, or tls://host:4222; several with commas between them"}
			}
		}
		*to(c) = s
		return nil
	}
}

// inboxes is a list of beginnings of subjects. Those of our own subjects and of the broker's are none: whoever may send a
// request could write there.
func inboxes(to field[[]string]) setter {
	return func(c *config, s string) error {
		var list []string
		for _, one := range strings.Split(s, ",") {
			one = strings.TrimSpace(one)
			if one == "" || strings.ContainsAny(one, "*> \t\r\n") || strings.HasPrefix(one, ".") || strings.Contains(one, "..") ||
				strings.HasPrefix(one, "$") || strings.HasPrefix(one, "idpsync") || strings.HasPrefix("idpsync", one) {
				return &settingError{fmt.Sprintf("has %q", one), "the beginning of inbox subjects, such as _INBOX; none of ours (idpsync) and none of the broker's ($)"}
			}
			list = append(list, one)
		}
		*to(c) = list
		return nil
	}
}

// operatorName is a name that fits into a subject.
func operatorName(to field[string]) setter {
	return func(c *config, s string) error {
		if !record.ValidOperator(s) {
			return &settingError{fmt.Sprintf("is %q", s), "1 to 63 of a-z, 0-9 and hyphen"}
		}
		*to(c) = s
		return nil
	}
}

// consumerNames is a list of names of JetStream consumers.
func consumerNames(to field[[]string]) setter {
	return func(c *config, s string) error {
		var list []string
		for _, one := range strings.Split(s, ",") {
			if one = strings.TrimSpace(one); one == "" || strings.ContainsAny(one, ".*>/\\ \t\r\n") {
				return &settingError{fmt.Sprintf("has %q", one), "names of consumers, without . * > / and spaces, as in ops-1,ops-2"}
			}
			list = append(list, one)
		}
		*to(c) = list
		return nil
	}
}

// domainName is the name of a JetStream domain: one token of a subject.
func domainName(to field[string]) setter {
	return func(c *config, s string) error {
		if !validDomain(s) {
			return &settingError{fmt.Sprintf("is %q", s), "the name of a JetStream domain, without . * > and spaces"}
		}
		*to(c) = s
		return nil
	}
}

func validDomain(s string) bool { return s != "" && !strings.ContainsAny(s, ".*>$= \t\r\n") }

// trustedDomains is a list of JetStream domains, each with a tenant for whose events it is trusted. There is no way to trust
// one for all tenants by leaving something out: whoever runs it could make logins of others younger or older.
func trustedDomains(to field[original.Trust]) setter {
	return func(c *config, s string) error {
		trust := original.Trust{}
		for _, one := range strings.Split(s, ",") {
			domain, tenant, _ := strings.Cut(strings.TrimSpace(one), "=")
			id, ok := providers.ParseUUID(tenant)
			if tenant == original.AllTenants {
				id, ok = tenant, true
			}
			if !ok || !validDomain(domain) {
				return &settingError{fmt.Sprintf("has %q", one), "a JetStream domain and the id of a tenant, as in edge=2489e9ad-2ee2-8e00-8ec9-32d5f69181c0, or edge=* for all tenants; several with commas between them"}
			}
			if !slices.Contains(trust[domain], id) {
				trust[domain] = append(trust[domain], id)
			}
		}
		*to(c) = trust
		return nil
	}
}

// urlPassword reports whether one of the URLs in s holds a password. What cannot be read as URLs is taken for one.
func urlPassword(s string) bool {
	for _, one := range strings.Split(s, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			return strings.Contains(s, "@")
		}
		if _, ok := u.User.Password(); ok || u.Query().Has("password") {
			return true
		}
	}
	return false
}

// urlUser reports whether one of the URLs in s names a user.
func urlUser(s string) bool {
	return slices.ContainsFunc(strings.Split(s, ","), func(one string) bool {
		u, err := url.Parse(strings.TrimSpace(one))
		return err == nil && u.User != nil
	})
}
