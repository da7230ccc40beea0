package rules

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of the cost of an imported hash. Whoever checks the password later pays it, at each try, so that a hash which
// asks for gigabytes is an attack on the first login.
const (
	maxHashLength   = 512
	maxMemoryKiB    = 256 << 10 // argon2 and scrypt
	maxArgonTime    = 16
	maxParallelism  = 16
	minBcryptCost   = 4
	maxBcryptCost   = 15
	maxScryptBlock  = 32
	minIterations   = 1_000
	maxIterations   = 10_000_000
	minHashSalt     = 8  // bytes
	maxHashSalt     = 64 // bytes
	minHashOutput   = 16 // bytes
	maxHashOutput   = 64 // bytes
	bcryptLength    = 60
	bcryptDigits    = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	argonVersion    = "v=19"
	scryptBlockUnit = 128 // bytes of memory for each N and r
)

// checkPasswordHash accepts the hashes that can be imported: argon2id and argon2i, scrypt and pbkdf2 in the PHC string
// format, and bcrypt as $2a$, $2b$ and $2y$. Errors continue the sentence "The password hash …" and quote nothing of it.
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>      also argon2i
//	$scrypt$ln=17,r=8,p=1$<salt>$<hash>
//	$pbkdf2-sha256$i=600000$<salt>$<hash>             also pbkdf2-sha1 and pbkdf2-sha512; l=<length> may follow i
//	$2b$12$<22 digits of salt><31 digits of hash>
func checkPasswordHash(s string) error {
	if len(s) > maxHashLength {
		return errors.New("is longer than 512 characters")
	}
	if !strings.HasPrefix(s, "$") {
		return errHashForm
	}
	fields := strings.Split(s[1:], "$")
	switch fields[0] {
	case "2a", "2b", "2y":
		return checkBcrypt(s, fields)
	case "argon2id", "argon2i":
		if len(fields) != 5 || fields[1] != argonVersion {
			return errors.New("is not of the form $argon2id$v=19$m=…,t=…,p=…$salt$hash")
		}
		p, err := hashParameters(fields[2], "m", "t", "p")
		if err != nil {
			return err
		}
		if m, t, lanes := p[0], p[1], p[2]; lanes < 1 || lanes > maxParallelism || t < 1 || t > maxArgonTime || m < 8*lanes || m > maxMemoryKiB {
			return fmt.Errorf("has argon2 parameters out of bounds: m from 8p to %d KiB, t from 1 to %d, p from 1 to %d", maxMemoryKiB, maxArgonTime, maxParallelism)
		}
		return checkSaltAndHash(fields[3], fields[4])
	case "scrypt":
		if len(fields) != 4 {
			return errors.New("is not of the form $scrypt$ln=…,r=…,p=…$salt$hash")
		}
		p, err := hashParameters(fields[1], "ln", "r", "p")
		if err != nil {
			return err
		}
		if ln, r, lanes := p[0], p[1], p[2]; ln < 1 || ln > 20 || r < 1 || r > maxScryptBlock || lanes < 1 || lanes > maxParallelism ||
			(scryptBlockUnit*r)<<ln > maxMemoryKiB<<10 {
			return fmt.Errorf("has scrypt parameters out of bounds: ln from 1 to 20, r from 1 to %d, p from 1 to %d, and 128·r·2^ln at most %d KiB", maxScryptBlock, maxParallelism, maxMemoryKiB)
		}
		return checkSaltAndHash(fields[2], fields[3])
	case "pbkdf2-sha1", "pbkdf2-sha256", "pbkdf2-sha512":
		if len(fields) != 4 {
			return errors.New("is not of the form $pbkdf2-sha256$i=…$salt$hash")
		}
		return checkPBKDF2(fields)
	}
	return errHashForm
}

var errHashForm = errors.New("is not of a kind that can be imported: argon2id, argon2i, scrypt or pbkdf2 in PHC form, or bcrypt")

func checkBcrypt(s string, fields []string) error {
	if len(s) != bcryptLength || len(fields) != 3 || len(fields[1]) != 2 {
		return errors.New("is not of the form $2b$12$… of 60 characters")
	}
	cost, err := strconv.ParseUint(fields[1], 10, 8)
	if err != nil || cost < minBcryptCost || cost > maxBcryptCost {
		return fmt.Errorf("has a bcrypt cost that is not from %02d to %d", minBcryptCost, maxBcryptCost)
	}
	if strings.Trim(fields[2], bcryptDigits) != "" {
		return errors.New("has characters that bcrypt does not use")
	}
	return nil
}

func checkPBKDF2(fields []string) error {
	iterations, length, hasLength := strings.Cut(fields[1], ",")
	p, err := hashParameters(iterations, "i")
	if err != nil {
		return err
	}
	if p[0] < minIterations || p[0] > maxIterations {
		return fmt.Errorf("has a number of pbkdf2 iterations that is not from %d to %d", minIterations, maxIterations)
	}
	if hasLength {
		l, err := hashParameters(length, "l")
		if err != nil {
			return err
		}
		if l[0] != base64.RawStdEncoding.DecodedLen(len(fields[3])) {
			return errors.New("has an output of another length than it says")
		}
	}
	return checkSaltAndHash(fields[2], fields[3])
}

// hashParameters reads name=number pairs that must come in this order, with no leading zeros.
func hashParameters(s string, names ...string) ([]int, error) {
	pairs := strings.Split(s, ",")
	wrong := errors.New("has parameters other than " + strings.Join(names, ", ") + ", in this order")
	if len(pairs) != len(names) {
		return nil, wrong
	}
	out := make([]int, len(names))
	for i, pair := range pairs { // as many as names
		name, digits, ok := strings.Cut(pair, "=")
		n, err := strconv.ParseUint(digits, 10, 31)
		if !ok || name != names[i] || //nolint:gosec // the lengths were compared
			err != nil || strconv.FormatUint(n, 10) != digits {
			return nil, wrong
		}
		out[i] = int(n) //nolint:gosec // 31 bits
	}
	return out, nil
}

func checkSaltAndHash(salt, hash string) error {
	encoding := base64.RawStdEncoding.Strict()
	if strings.ContainsAny(salt+hash, "\r\n") { // which the decoder would pass over
		return errors.New("has a salt or output that is not base64 without padding")
	}
	s, err := encoding.DecodeString(salt)
	h, also := encoding.DecodeString(hash)
	switch {
	case err != nil || also != nil:
		return errors.New("has a salt or output that is not base64 without padding")
	case len(s) < minHashSalt || len(s) > maxHashSalt:
		return errors.New("has a salt that is not from 8 to 64 bytes long")
	case len(h) < minHashOutput || len(h) > maxHashOutput:
		return errors.New("has an output that is not from 16 to 64 bytes long")
	}
	return nil
}

// The least cost of an imported hash, by the OWASP Password Storage Cheat Sheet, which names these as equal in strength:
// https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html. For argon2 (RFC 9106) it lists the memory
// in KiB by the number of passes, at one lane; for scrypt (RFC 7914) the lanes by the binary logarithm of N, at r = 8.
const (
	leastBcrypt       = 10
	leastScryptBlock  = 8
	leastPBKDF2SHA1   = 1_300_000
	leastPBKDF2SHA256 = 600_000
	leastPBKDF2SHA512 = 210_000
)

func leastArgonMemory(passes int) int {
	return []int{47_104, 19_456, 12_288, 9_216, 7_168}[min(passes, 5)-1]
}

func leastScryptLanes(ln int) int {
	switch {
	case ln >= 17:
		return 1
	case ln >= 13:
		return map[int]int{13: 10, 14: 5, 15: 3, 16: 2}[ln]
	}
	return maxParallelism + 1
}

// checkHashStrength refuses a hash, of a form that [checkPasswordHash] has accepted, that is tried out too cheaply by someone
// who gets hold of it.
func checkHashStrength(s string) error {
	fields := strings.Split(s[1:], "$")
	weak := func(format string, args ...any) error {
		return fmt.Errorf("is too weak: OWASP asks for at least "+format, args...)
	}
	number := func(field string, names ...string) []int {
		p, err := hashParameters(field, names...)
		if err != nil { // it was read before
			return make([]int, len(names))
		}
		return p
	}
	switch fields[0] {
	case "2a", "2b", "2y":
		if cost, err := strconv.Atoi(fields[1]); err != nil || cost < leastBcrypt {
			return weak("a bcrypt cost of %d", leastBcrypt)
		}
	case "argon2id", "argon2i":
		p := number(fields[2], "m", "t", "p")
		if least := leastArgonMemory(max(p[1], 1)); p[0] < least {
			return weak("m=%d with t=%d for argon2", least, p[1])
		}
	case "scrypt":
		p := number(fields[1], "ln", "r", "p")
		if p[1] < leastScryptBlock || p[2] < leastScryptLanes(p[0]) {
			return weak("ln=17,r=8,p=1 for scrypt, or as much as that")
		}
	case "pbkdf2-sha1", "pbkdf2-sha256", "pbkdf2-sha512":
		iterations, _, _ := strings.Cut(fields[1], ",")
		least := map[string]int{"pbkdf2-sha1": leastPBKDF2SHA1, "pbkdf2-sha256": leastPBKDF2SHA256, "pbkdf2-sha512": leastPBKDF2SHA512}[fields[0]]
		if number(iterations, "i")[0] < least {
			return weak("%d iterations of %s", least, fields[0])
		}
	}
	return nil
}
