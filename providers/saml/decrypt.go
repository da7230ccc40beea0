package saml

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // SHA-1 inside OAEP is the default of XML Encryption and no weakness there
	_ "crypto/sha256"

	"github.com/beevik/etree"
)

// Algorithms of XML Encryption 1.1 that are accepted.
const (
	algCBC128 = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
	algCBC256 = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
	algGCM128 = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
	algGCM256 = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
	algOAEP   = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
	algOAEP11 = "http://www.w3.org/2009/xmlenc11#rsa-oaep"

	digestSHA1   = "http://www.w3.org/2000/09/xmldsig#sha1"
	digestSHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
	mgf1SHA1     = "http://www.w3.org/2009/xmlenc11#mgf1sha1"
	mgf1SHA256   = "http://www.w3.org/2009/xmlenc11#mgf1sha256"
)

// maxEncryptedKeys bounds the private key operations of one message. An IdP encrypts for one or two of our keys.
const maxEncryptedKeys = 4

// A sealed is an EncryptedAssertion whose algorithms are acceptable.
type sealed struct {
	algorithm string
	keySize   int
	data      *etree.Element   // EncryptedData
	keys      []*etree.Element // EncryptedKey
}

// authenticated reports whether the cipher itself notices changes.
func (s *sealed) authenticated() bool { return s.algorithm == algGCM128 || s.algorithm == algGCM256 }

// unseal looks at the algorithms of an EncryptedAssertion, without using a key.
func unseal(el *etree.Element) (*sealed, error) {
	data, single := only(el, nsXMLEnc, "EncryptedData")
	if data == nil || !single {
		return nil, refuse(checkDecryption, failedDecryption)
	}
	s := &sealed{data: data, algorithm: method(data)}
	switch s.algorithm {
	case algCBC128, algGCM128:
		s.keySize = 16
	case algCBC256, algGCM256:
		s.keySize = 32
	default:
		return nil, refuseSaid(checkEncryption, "the assertion is not encrypted with AES-GCM or AES-CBC of 128 or 256 bits",
			"let the identity provider encrypt with AES-256-GCM; give it the metadata that saml-metadata prints", s.algorithm)
	}
	for _, info := range children(data, nsSignature, "KeyInfo") {
		s.keys = append(s.keys, children(info, nsXMLEnc, "EncryptedKey")...)
	}
	s.keys = append(s.keys, children(el, nsXMLEnc, "EncryptedKey")...)
	if len(s.keys) == 0 || len(s.keys) > maxEncryptedKeys {
		return nil, refuse(checkDecryption, failedDecryption)
	}
	for _, k := range s.keys {
		if _, err := oaep(k); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// failedDecryption is all that is ever said of a decryption that failed, so that nobody can learn from the difference.
const failedDecryption = "the assertion cannot be decrypted, or what it holds cannot be verified"

// oaep returns the parameters of a key that is wrapped with RSA-OAEP (XML Encryption 1.1 section 5.5.2).
func oaep(key *etree.Element) (*rsa.OAEPOptions, error) {
	m, single := only(key, nsXMLEnc, "EncryptionMethod")
	if m == nil || !single {
		return nil, refuse(checkDecryption, failedDecryption)
	}
	algorithm := attrValue(m, "Algorithm")
	wrong := refuseSaid(checkEncryption, "the key of the assertion is not wrapped with RSA-OAEP and SHA-1 or SHA-256",
		"let the identity provider wrap keys with RSA-OAEP; RSA 1.5 is broken and refused", algorithm)
	if algorithm != algOAEP && algorithm != algOAEP11 {
		return nil, wrong
	}
	opts := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	for _, c := range m.ChildElements() {
		value := attrValue(c, "Algorithm")
		switch {
		case is(c, nsSignature, "DigestMethod") && value == digestSHA1:
		case is(c, nsSignature, "DigestMethod") && value == digestSHA256:
			opts.Hash = crypto.SHA256
		case is(c, nsXMLEnc11, "MGF") && algorithm == algOAEP11 && value == mgf1SHA1:
		case is(c, nsXMLEnc11, "MGF") && algorithm == algOAEP11 && value == mgf1SHA256:
			opts.MGFHash = crypto.SHA256
		default:
			return nil, wrong
		}
	}
	return opts, nil
}

func method(el *etree.Element) string {
	m, single := only(el, nsXMLEnc, "EncryptionMethod")
	if m == nil || !single {
		return ""
	}
	return attrValue(m, "Algorithm")
}

// open decrypts, and reports nothing but success.
func (s *sealed) open(key *rsa.PrivateKey) ([]byte, bool) {
	data, ok := cipherValue(s.data)
	if !ok {
		return nil, false
	}
	for _, k := range s.keys {
		wrapped, ok := cipherValue(k)
		if !ok {
			continue
		}
		opts, err := oaep(k)
		if err != nil {
			continue
		}
		secret, err := key.Decrypt(rand.Reader, wrapped, opts)
		if err != nil || len(secret) != s.keySize {
			continue
		}
		if plain, ok := s.decipher(secret, data); ok {
			return plain, true
		}
	}
	return nil, false
}

func (s *sealed) decipher(secret, data []byte) ([]byte, bool) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, false
	}
	if s.authenticated() {
		// A 96-bit IV before the ciphertext and a 128-bit tag after it (XML Encryption 1.1 section 5.2.4).
		gcm, err := cipher.NewGCM(block)
		if err != nil || len(data) < gcm.NonceSize()+gcm.Overhead() {
			return nil, false
		}
		plain, err := gcm.Open(nil, data[:gcm.NonceSize()], data[gcm.NonceSize():], nil)
		return plain, err == nil
	}
	if len(data) < 2*aes.BlockSize || len(data)%aes.BlockSize != 0 {
		return nil, false
	}
	plain := make([]byte, len(data)-aes.BlockSize)
	cipher.NewCBCDecrypter(block, data[:aes.BlockSize]).CryptBlocks(plain, data[aes.BlockSize:])
	// The last byte is the length of the padding, whose other bytes are arbitrary (XML Encryption 1.1 section 5.2).
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > aes.BlockSize {
		return nil, false
	}
	return plain[:len(plain)-padding], true
}

func cipherValue(el *etree.Element) ([]byte, bool) {
	data, single := only(el, nsXMLEnc, "CipherData")
	if data == nil || !single {
		return nil, false
	}
	value, single := only(data, nsXMLEnc, "CipherValue")
	if value == nil || !single {
		return nil, false
	}
	encoded, ok := text(value)
	if !ok {
		return nil, false
	}
	raw, err := decodeBase64(encoded)
	return raw, err == nil
}
