package saml

import (
	"github.com/beevik/etree"
)

// identifier returns the NameID of a Subject, decrypted if it is encrypted (SAML core 2.2.4); nil for an encrypted one that
// cannot be read and need not be, as the source takes the subject from an attribute.
//
// What is decrypted stood in a signed element, so that its ciphertext is what the identity provider wrote: nobody can learn
// from answers what is in it. It must be one NameID and nothing else.
func (v *verification) identifier(subject *etree.Element) (*etree.Element, error) {
	plain, encrypted := children(subject, nsAssertion, "NameID"), children(subject, nsAssertion, "EncryptedID")
	switch {
	case len(plain) == 1 && len(encrypted) == 0:
		return plain[0], nil
	case len(plain) != 0 || len(encrypted) != 1:
		return nil, refuseHint(checkNameID, "the Subject does not have one NameID in the SAML namespace", "let the identity provider send one NameID")
	case v.p.key == nil && v.p.mappedSubject:
		return nil, nil
	case v.p.key == nil:
		return nil, refuseHint(checkNameID, "the NameID is encrypted, and the source has no key",
			"set key_file and certificate_file for this source, or mapping.subject to an attribute that never changes, or let the identity provider send the NameID unencrypted")
	}
	nameID, err := v.decryptID(encrypted[0])
	if err != nil && v.p.mappedSubject {
		return nil, nil
	}
	return nameID, err
}

func (v *verification) decryptID(el *etree.Element) (*etree.Element, error) {
	box, err := unseal(el)
	if err != nil {
		return nil, err
	}
	plain, ok := box.open(v.p.key)
	if !ok {
		return nil, refuse(checkDecryption, "the NameID cannot be decrypted")
	}
	root, err := scan(string(plain), messageLimits, scopeOf(el))
	if err != nil {
		return nil, refuse(checkNameID, "what was encrypted in place of the NameID is no plain XML")
	}
	if !is(root, nsAssertion, "NameID") {
		return nil, refuse(checkNameID, "what was encrypted in place of the NameID is another element")
	}
	pass(v.trace, checkDecryption, func() string { return "NameID, " + box.algorithm })
	return root, nil
}
