package saml_test

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

// An edit changes an honest Response before it is signed.
type edit func(response, assertion *etree.Element)

func set(path, name, value string) edit {
	return func(r, _ *etree.Element) { r.FindElement(path).CreateAttr(name, value) }
}

func unset(path, name string) edit {
	return func(r, _ *etree.Element) { r.FindElement(path).RemoveAttr(name) }
}

func without(path string) edit {
	return func(r, _ *etree.Element) { remove(r.FindElement(path)) }
}

func twice(path string) edit {
	return func(r, _ *etree.Element) {
		el := r.FindElement(path)
		again := el.Copy()
		again.RemoveAttr("ID")
		el.Parent().AddChild(again)
	}
}

func settext(path, value string) edit {
	return func(r, _ *etree.Element) { r.FindElement(path).SetText(value) }
}

func both(edits ...edit) edit {
	return func(r, a *etree.Element) {
		for _, e := range edits {
			e(r, a)
		}
	}
}

func at(d time.Duration) string { return providertest.Epoch.Add(d).Format("2006-01-02T15:04:05.000Z") }

// Every rule of SAML profiles 4.1.4 and core 2 that a signed Response can break, at the time at which it was stored.
func TestRules(t *testing.T) {
	const (
		a     = "./Assertion"
		data  = "./Assertion/Subject/SubjectConfirmation/SubjectConfirmationData"
		cond  = "./Assertion/Conditions"
		authn = "./Assertion/AuthnStatement"
		skew  = providers.DefaultClockSkew
	)
	foreign := func(r, _ *etree.Element) {
		r.FindElement(cond).AddChild(element("evil:Condition", "xmlns:evil", "urn:evil"))
	}
	restrict := func(audiences ...string) edit {
		return func(r, _ *etree.Element) {
			restriction := element("saml:AudienceRestriction")
			for _, name := range audiences {
				restriction.CreateElement("saml:Audience").SetText(name)
			}
			r.FindElement(cond).AddChild(restriction)
		}
	}
	confirm := func(method string, first bool) edit {
		return func(r, _ *etree.Element) {
			subject := r.FindElement("./Assertion/Subject")
			other := subject.SelectElement("SubjectConfirmation").Copy()
			other.CreateAttr("Method", method)
			other.SelectElement("SubjectConfirmationData").CreateAttr("Recipient", "https://other.example/acs")
			if first {
				subject.InsertChildAt(1, other)
				return
			}
			subject.AddChild(other)
		}
	}
	const bearer, holder = "urn:oasis:names:tc:SAML:2.0:cm:bearer", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"
	for name, c := range map[string]struct {
		edit edit
		want string
	}{
		"nothing": {both(), ""},

		"response version":          {set(".", "Version", "1.1"), "version"},
		"assertion version":         {set(a, "Version", "2.1"), "version"},
		"assertion without version": {unset(a, "Version"), "version"},
		"assertion without ID":      {unset(a, "ID"), "duplicate_id"},
		"assertion with long ID":    {set(a, "ID", "_"+strings.Repeat("x", 300)), "duplicate_id"},
		"status":                    {set("./Status/StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Responder"), "status"},
		"failed login":              {both(set("./Status/StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Responder"), without(a)), "status"},
		"no status":                 {without("./Status"), "status"},
		"no status code":            {without("./Status/StatusCode"), "status"},
		"two statuses":              {twice("./Status"), "status"},

		"response issuer":           {settext("./Issuer", "https://other.example"), "issuer"},
		"response without issuer":   {without("./Issuer"), ""},
		"response with two issuers": {twice("./Issuer"), "issuer"},
		"issuer with entity format": {set("./Issuer", "Format", "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"), ""},
		"issuer with other format":  {set("./Issuer", "Format", idp.FormatEmail), "issuer"},
		"assertion issuer":          {settext(a+"/Issuer", "https://other.example"), "issuer"},
		"assertion without issuer":  {without(a + "/Issuer"), "issuer"},
		"issuer with space":         {settext(a+"/Issuer", " \n"+idpID+"\t"), ""},
		"issuer with another space": {settext(a+"/Issuer", "\u00a0"+idpID), "issuer"},

		"destination":         {set(".", "Destination", "https://other.example/acs"), "destination"},
		"destination, slash":  {set(".", "Destination", acsURL+"/"), "destination"},
		"without destination": {unset(".", "Destination"), "destination"},
		"empty destination":   {set(".", "Destination", ""), "destination"},

		"response issued early":      {set(".", "IssueInstant", at(skew)), ""},
		"response issued too early":  {set(".", "IssueInstant", at(skew+time.Second)), "issued_at"},
		"response issued long ago":   {set(".", "IssueInstant", at(-2*time.Hour)), "issued_at"},
		"response issued never":      {unset(".", "IssueInstant"), "issued_at"},
		"response issued at no time": {set(".", "IssueInstant", "yesterday"), "issued_at"},
		"assertion issued too early": {set(a, "IssueInstant", at(skew+time.Second)), "issued_at"},
		"assertion issued long ago":  {set(a, "IssueInstant", at(-2*time.Hour)), "issued_at"},
		"assertion issued never":     {unset(a, "IssueInstant"), "issued_at"},
		"time with an offset":        {set(a, "IssueInstant", "2026-11-02T10:00:00+01:00"), ""},
		"time without a zone":        {set(a, "IssueInstant", "2026-11-02T09:00:00.1234567"), ""},

		"response answers another":       {set(".", "InResponseTo", "_other"), "in_response_to"},
		"response answers none":          {unset(".", "InResponseTo"), "in_response_to"},
		"confirmation answers another":   {set(data, "InResponseTo", "_other"), "in_response_to"},
		"confirmation answers none":      {unset(data, "InResponseTo"), "in_response_to"},
		"confirmation answers \"\"":      {set(data, "InResponseTo", ""), "in_response_to"},
		"no subject":                     {without(a + "/Subject"), "subject_confirmation"},
		"two subjects":                   {twice(a + "/Subject"), "subject_confirmation"},
		"no confirmation":                {without(a + "/Subject/SubjectConfirmation"), "subject_confirmation"},
		"no confirmation data":           {without(data), "subject_confirmation"},
		"two confirmation data":          {twice(data), "subject_confirmation"},
		"holder of key":                  {set(a+"/Subject/SubjectConfirmation", "Method", holder), "subject_confirmation"},
		"holder of key first":            {confirm(holder, true), ""},
		"another bearer first":           {confirm(bearer, true), ""},
		"another bearer last":            {confirm(bearer, false), ""},
		"recipient":                      {set(data, "Recipient", "https://other.example/acs"), "recipient"},
		"no recipient":                   {unset(data, "Recipient"), "recipient"},
		"confirmation expired":           {set(data, "NotOnOrAfter", at(-skew)), "expired"},
		"confirmation about to expire":   {set(data, "NotOnOrAfter", at(-skew+time.Second)), ""},
		"confirmation never expires":     {unset(data, "NotOnOrAfter"), "expired"},
		"confirmation expires at a word": {set(data, "NotOnOrAfter", "never"), "expired"},
		"confirmation not yet valid":     {set(data, "NotBefore", at(skew+time.Second)), "not_yet_valid"},
		"confirmation just valid":        {set(data, "NotBefore", at(skew)), ""},

		"no conditions":            {without(cond), "audience"},
		"two conditions":           {twice(cond), "audience"},
		"conditions expired":       {set(cond, "NotOnOrAfter", at(-skew)), "expired"},
		"conditions never expire":  {unset(cond, "NotOnOrAfter"), ""},
		"conditions not yet valid": {set(cond, "NotBefore", at(skew+time.Second)), "not_yet_valid"},
		"conditions from a word":   {set(cond, "NotBefore", "now"), "not_yet_valid"},
		"year zero":                {set(cond, "NotOnOrAfter", "0001-01-01T00:00:00Z"), "expired"},
		"audience":                 {settext(cond+"/AudienceRestriction/Audience", "https://other.example"), "audience"},
		"audience in another case": {settext(cond+"/AudienceRestriction/Audience", strings.ToUpper(entityID)), "audience"},
		"no audience":              {without(cond + "/AudienceRestriction/Audience"), "audience"},
		"no restriction":           {without(cond + "/AudienceRestriction"), "audience"},
		"one of two audiences":     {both(without(cond+"/AudienceRestriction"), restrict("https://other.example", entityID)), ""},
		"one of two restrictions":  {restrict("https://other.example"), "audience"},
		"two restrictions":         {restrict(entityID), ""},
		"one time use":             {func(r, _ *etree.Element) { r.FindElement(cond).CreateElement("saml:OneTimeUse") }, ""},
		"unknown condition":        {foreign, "condition"},
		"abstract condition":       {func(r, _ *etree.Element) { r.FindElement(cond).CreateElement("saml:Condition") }, "condition"},

		"no authn statement":       {without(authn), "authn_statement"},
		"session ended":            {set(authn, "SessionNotOnOrAfter", at(-skew)), "session_expired"},
		"session about to end":     {set(authn, "SessionNotOnOrAfter", at(-skew+time.Second)), ""},
		"session without end":      {unset(authn, "SessionNotOnOrAfter"), ""},
		"session ends at a word":   {set(authn, "SessionNotOnOrAfter", "tomorrow"), "session_expired"},
		"one of two sessions over": {both(twice(authn), set(authn, "SessionNotOnOrAfter", at(-time.Hour))), "session_expired"},

		"encrypted NameID":       {func(_, a *etree.Element) { subjectID(a).Tag = "EncryptedID" }, "decryption"},
		"our qualifiers":         {both(set(a+"/Subject/NameID", "NameQualifier", idpID), set(a+"/Subject/NameID", "SPNameQualifier", entityID)), ""},
		"NameID without format":  {unset(a+"/Subject/NameID", "Format"), ""},
		"NameID of great length": {settext(a+"/Subject/NameID", strings.Repeat("x", 1025)), "name_id"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			doc := w.respond(t, func(r *idp.Request) { r.Edit = c.edit })
			_, err := w.verify(t, w.provider(t), doc)
			if got := reason(t, err); got != c.want {
				t.Errorf("reason %q, want %q: %v", got, c.want, err)
			}
		})
	}
}

func element(name string, attributes ...string) *etree.Element {
	el := etree.NewElement(name)
	for i := 0; i < len(attributes); i += 2 {
		el.CreateAttr(attributes[i], attributes[i+1])
	}
	return el
}

// What is around a signed assertion can only lead to a refusal, and needs no Destination.
func TestUnsignedResponse(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	doc := string(w.respond(t, func(r *idp.Request) { r.Mode = idp.SignAssertion }))
	head, rest, _ := strings.Cut(doc, ">")
	for name, c := range map[string]struct{ head, want string }{
		"as it came":          {head, ""},
		"without destination": {strings.Replace(head, ` Destination="`+acsURL+`"`, "", 1), ""},
		"destination":         {strings.Replace(head, acsURL, "https://other.example/acs", 1), "destination"},
		"issued next year":    {strings.Replace(head, `IssueInstant="2026`, `IssueInstant="2027`, 1), "issued_at"},
		"answers another":     {strings.Replace(head, request, "_other", 1), "in_response_to"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.verify(t, p, []byte(c.head+">"+rest))
			if got := reason(t, err); got != c.want {
				t.Errorf("reason %q, want %q: %v", got, c.want, err)
			}
		})
	}
}

func TestInResponseTo(t *testing.T) {
	for _, c := range []struct {
		idpInitiated    bool
		asked, answered string
		want            string
	}{
		{false, "_1", "_1", ""},
		{false, "_1", "_2", "in_response_to"},
		{false, "_1", "", "in_response_to"},
		{false, "", "_1", "in_response_to"},
		{false, "", "", "in_response_to"},
		{true, "_1", "_1", ""},
		{true, "_1", "", "in_response_to"},
		{true, "", "_1", "in_response_to"},
		{true, "", "", ""},
	} {
		t.Run(fmt.Sprintf("%v %q %q", c.idpInitiated, c.asked, c.answered), func(t *testing.T) {
			w := newWorld(t)
			doc := w.respond(t, func(r *idp.Request) { r.InResponseTo = c.answered })
			p := w.provider(t, func(s *providers.Source) { own(s).IDPInitiated = c.idpInitiated })
			_, err := p.Verify(t.Context(), providertest.SAMLLogin(t, "adfs", base64.StdEncoding.EncodeToString(doc), c.asked, w.clock.Now()))
			if got := reason(t, err); got != c.want {
				t.Errorf("reason %q, want %q: %v", got, c.want, err)
			}
		})
	}
}

// Messages of many times are judged at once, each at its own.
func TestTimesConcurrently(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	var wg sync.WaitGroup
	for year := range 16 {
		year := time.Duration(year) * 180 * 24 * time.Hour
		stored := w.clock.Now().Add(year)
		for _, mode := range []idp.Mode{idp.SignResponse, idp.SignBoth} {
			doc := base64.StdEncoding.EncodeToString(w.respond(t, after(year), func(r *idp.Request) { r.Mode = mode }))
			for offset, want := range map[time.Duration]string{0: "", 10 * time.Minute: "expired", -20 * time.Minute: "issued_at"} {
				e := providertest.SAMLLogin(t, "adfs", doc, request, stored.Add(offset))
				wg.Go(func() {
					for range 8 {
						_, err := p.Verify(t.Context(), e)
						if got := reason(t, err); got != want {
							t.Errorf("%v later, %v off: reason %q, want %q: %v", year, offset, got, want, err)
						}
					}
				})
			}
		}
	}
	wg.Wait()
}

func TestUser(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t, func(s *providers.Source) {
		s.Mapping = map[string]string{"roles": `attributes["groups"]`, "identity_name": "session_index"}
	})
	user, err := w.verify(t, p, w.respond(t, func(r *idp.Request) {
		r.Edit = set("./Assertion/AuthnStatement", "SessionIndex", "_session")
	}))
	check(t, err)
	want := providers.CreateUser{
		Principal:    providers.Principal{Kind: providers.PrincipalSource, ID: "adfs", Name: "adfs", Grants: []string{"user"}},
		Shape:        providers.ShapeLogin,
		AuthProvider: "saml",
		Identity:     &providers.Identity{Issuer: idpID, Subject: "ada-1815"},
		Email:        "ada@acme.example", Name: "Ada Lovelace", IdentityName: "_session",
		Roles: providers.Claim[string]{Present: true, Values: []string{"staff", "user"}},
		Attributes: map[string]any{
			"urn:oid:0.9.2342.19200300.100.1.3": []string{"ada@acme.example"}, "mail": []string{"ada@acme.example"},
			"urn:oid:2.16.840.1.113730.3.1.241": []string{"Ada Lovelace"}, "displayName": []string{"Ada Lovelace"},
			"groups": []string{"staff", "user"},
		},
		UsedID: user.UsedID,
	}
	user.EmailUnproved = "" // words
	if !reflect.DeepEqual(user, want) {
		t.Errorf("request %+v\nwant %+v", user, want)
	}
}

func TestEmailVerified(t *testing.T) {
	w := newWorld(t)
	doc := w.respond(t)
	for name, c := range map[string]struct {
		trust   bool
		domains []string
		want    bool
	}{
		"trusted domain":     {true, []string{"acme.example"}, true},
		"other domain":       {true, []string{"other.example"}, false},
		"parent domain":      {true, []string{"example"}, false},
		"no domains":         {true, nil, false},
		"not trusted":        {false, []string{"acme.example"}, false},
		"one of the domains": {true, []string{"other.example", "acme.example"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			user, err := w.verify(t, w.provider(t, func(s *providers.Source) { s.TrustEmail, s.Domains = c.trust, c.domains }), doc)
			check(t, err)
			if user.EmailVerified != c.want {
				t.Errorf("verified: %v, want %v", user.EmailVerified, c.want)
			}
		})
	}
}

// A transient NameID is no key; an attribute that the source maps is, for every format.
func TestSubject(t *testing.T) {
	w := newWorld(t)
	stable := func(s *providers.Source) { s.Mapping = map[string]string{"subject": `attributes["uid"][0]`} }
	uid := func(values ...string) func(*idp.Request) {
		return func(r *idp.Request) { r.Attributes = append(r.Attributes, idp.Attribute{Name: "uid", Values: values}) }
	}
	transient := func(r *idp.Request) { r.NameIDFormat = idp.FormatTransient }
	for name, c := range map[string]struct {
		source        []func(*providers.Source)
		change        []func(*idp.Request)
		subject, want string
	}{
		"persistent":             {nil, nil, "ada-1815", ""},
		"transient":              {nil, []func(*idp.Request){transient}, "", "name_id_format"},
		"transient, mapped":      {[]func(*providers.Source){stable}, []func(*idp.Request){transient, uid("u-1")}, "u-1", ""},
		"persistent, mapped":     {[]func(*providers.Source){stable}, []func(*idp.Request){uid("u-1")}, "u-1", ""},
		"mapped, absent":         {[]func(*providers.Source){stable}, []func(*idp.Request){transient}, "", "subject"},
		"mapped, absent, stable": {[]func(*providers.Source){stable}, nil, "", "subject"},
		"mapped, empty":          {[]func(*providers.Source){stable}, []func(*idp.Request){uid("")}, "", "subject"},
	} {
		t.Run(name, func(t *testing.T) {
			user, err := w.verify(t, w.provider(t, c.source...), w.respond(t, c.change...))
			if got := reason(t, err); got != c.want {
				t.Fatalf("reason %q, want %q: %v", got, c.want, err)
			}
			if err == nil && *user.Identity != (providers.Identity{Issuer: idpID, Subject: c.subject}) {
				t.Errorf("identity %+v, want subject %q", user.Identity, c.subject)
			}
		})
	}
}

func TestUsedID(t *testing.T) {
	w := newWorld(t)
	used := func(doc []byte, change ...func(*providers.Source)) *providers.UsedID {
		user, err := w.verify(t, w.provider(t, change...), doc)
		check(t, err)
		return user.UsedID
	}
	doc := w.respond(t)
	first, again, other := used(doc), used(doc), used(w.respond(t))
	if *first != *again || first.ID == other.ID {
		t.Errorf("used ids %v, %v, %v; want the same, the same, another", first, again, other)
	}
	window := w.clock.Now().Add(5*time.Minute + providers.MaxClockSkew) // a source may be given more skew while the event waits
	if want := window.Add(providers.DefaultMaxEventAge); !first.Until.Equal(want) {
		t.Errorf("kept until %v, want %v", first.Until, want)
	}
	short := used(doc, func(s *providers.Source) { s.MaxEventAge = time.Hour })
	if want := window.Add(time.Hour); !short.Until.Equal(want) {
		t.Errorf("kept until %v, want %v", short.Until, want)
	}
}

func TestAttributes(t *testing.T) {
	w := newWorld(t)
	user, err := w.verify(t, w.provider(t), w.respond(t, func(r *idp.Request) {
		r.Attributes = []idp.Attribute{
			{Name: "urn:a", FriendlyName: "a", Values: []string{"1", ""}},
			{Name: "urn:a", FriendlyName: "a", Values: []string{"2"}},
			{Name: "b", Values: []string{"named"}},
			{Name: "urn:b", FriendlyName: "b", Values: []string{"friendly"}},
			{Name: "empty"},
			{Name: "special", Values: []string{" <&> \t\u00e9 "}},
		}
		r.Edit = func(_, a *etree.Element) {
			list := a.SelectElement("AttributeStatement")
			nilled := list.CreateElement("saml:Attribute")
			nilled.CreateAttr("Name", "nil")
			value := nilled.CreateElement("saml:AttributeValue")
			value.CreateAttr("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
			value.CreateAttr("xsi:nil", "true")
			targeted := list.CreateElement("saml:Attribute")
			targeted.CreateAttr("Name", "eduPersonTargetedID")
			targeted.CreateElement("saml:AttributeValue").CreateElement("saml:NameID").SetText("t-1")
			structured := list.CreateElement("saml:Attribute")
			structured.CreateAttr("Name", "structured")
			structured.CreateElement("saml:AttributeValue").CreateElement("saml:Other").SetText("x")
			a.CreateElement("saml:AttributeStatement").CreateElement("saml:Attribute").CreateAttr("FriendlyName", "nameless")
		}
	}))
	check(t, err)
	want := map[string]any{
		"urn:a": []string{"1", "2"}, "a": []string{"1", "2"}, "b": []string{"named"}, "urn:b": []string{"friendly"},
		"empty": []string(nil), "special": []string{"<&> \t\u00e9"}, "nil": []string(nil), "eduPersonTargetedID": []string{"t-1"},
		"structured": []string(nil),
	}
	if !reflect.DeepEqual(user.Attributes, want) {
		t.Errorf("attributes %#v\nwant %#v", user.Attributes, want)
	}
}
