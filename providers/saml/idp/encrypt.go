package idp

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // the default digest of RSA-OAEP in XML Encryption
	_ "crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/beevik/etree"
)

// Algorithms of XML Encryption for an assertion.
const (
	AES128CBC = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
	AES256CBC = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
	AES128GCM = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
	AES256GCM = "http://www.w3.org/2009/xmlenc11#aes256-gcm"

	DigestSHA1   = "http://www.w3.org/2000/09/xmldsig#sha1"
	DigestSHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"

	MaskSHA1   = "http://www.w3.org/2009/xmlenc11#mgf1sha1"
	MaskSHA256 = "http://www.w3.org/2009/xmlenc11#mgf1sha256"
)

// encrypt puts an EncryptedAssertion in the place of the assertion in its Response. The key is wrapped with RSA-OAEP.
func encrypt(assertion *etree.Element, req Request, random io.Reader) error {
	if req.Certificate == nil {
		return errors.New("encrypting needs the service provider's certificate")
	}
	public, ok := req.Certificate.PublicKey.(*rsa.PublicKey)
	if !ok {
		return errors.New("encrypting needs a certificate with an RSA key")
	}
	response, at := assertion.Parent(), assertion.Index()
	plain, err := serialize(assertion.Copy())
	if err != nil {
		return err
	}
	secret := make([]byte, map[string]int{AES128CBC: 16, AES128GCM: 16, AES256CBC: 32, AES256GCM: 32}[req.Encrypt])
	if len(secret) == 0 {
		return fmt.Errorf("%s is not an algorithm for assertions", req.Encrypt)
	}
	if _, err := io.ReadFull(random, secret); err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	data, err := encipher(req.Encrypt, secret, plain, random)
	if err != nil {
		return err
	}
	wrapped, method, err := wrap(public, secret, req, random)
	if err != nil {
		return err
	}

	outer := element("saml:EncryptedAssertion")
	encrypted := element("xenc:EncryptedData", "xmlns:xenc", "http://www.w3.org/2001/04/xmlenc#", "Type", "http://www.w3.org/2001/04/xmlenc#Element")
	encrypted.AddChild(element("xenc:EncryptionMethod", "Algorithm", req.Encrypt))
	info := element("ds:KeyInfo", "xmlns:ds", "http://www.w3.org/2000/09/xmldsig#")
	key := element("xenc:EncryptedKey")
	key.AddChild(method)
	key.AddChild(cipherData(wrapped))
	info.AddChild(key)
	encrypted.AddChild(info)
	encrypted.AddChild(cipherData(data))
	outer.AddChild(encrypted)

	response.RemoveChildAt(at)
	response.InsertChildAt(at, outer)
	return nil
}

func cipherData(data []byte) *etree.Element {
	el := element("xenc:CipherData")
	el.AddChild(leaf("xenc:CipherValue", base64.StdEncoding.EncodeToString(data)))
	return el
}

func encipher(algorithm string, secret, plain []byte, random io.Reader) ([]byte, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if algorithm == AES128GCM || algorithm == AES256GCM {
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		nonce := make([]byte, gcm.NonceSize())
		if _, err := io.ReadFull(random, nonce); err != nil {
			return nil, fmt.Errorf("make a nonce: %w", err)
		}
		return gcm.Seal(nonce, nonce, plain, nil), nil
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	padded := append(append([]byte(nil), plain...), make([]byte, padding)...)
	padded[len(padded)-1] = byte(padding)
	out := make([]byte, aes.BlockSize+len(padded))
	if _, err := io.ReadFull(random, out[:aes.BlockSize]); err != nil {
		return nil, fmt.Errorf("make an IV: %w", err)
	}
	cipher.NewCBCEncrypter(block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], padded) //nolint:gosec // the IV was just read from random
	return out, nil
}

// wrap encrypts a key with RSA-OAEP (XML Encryption 1.1 section 5.5.2) and says how. In the older of its two forms the
// mask generation is always that of SHA-1.
func wrap(public *rsa.PublicKey, secret []byte, req Request, random io.Reader) ([]byte, *etree.Element, error) {
	opts := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	digest := req.KeyDigest
	switch digest {
	case "":
		digest = DigestSHA1
	case DigestSHA1:
	case DigestSHA256:
		opts.Hash = crypto.SHA256
	default:
		return nil, nil, fmt.Errorf("%s is not a digest for RSA-OAEP", digest)
	}
	method := element("xenc:EncryptionMethod", "Algorithm", "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p")
	method.AddChild(element("ds:DigestMethod", "Algorithm", digest))
	switch req.KeyMask {
	case "":
	case MaskSHA1, MaskSHA256:
		if req.KeyMask == MaskSHA256 {
			opts.MGFHash = crypto.SHA256
		}
		method.CreateAttr("Algorithm", "http://www.w3.org/2009/xmlenc11#rsa-oaep")
		method.AddChild(element("xenc11:MGF", "xmlns:xenc11", "http://www.w3.org/2009/xmlenc11#", "Algorithm", req.KeyMask))
	default:
		return nil, nil, fmt.Errorf("%s is not a mask generation for RSA-OAEP", req.KeyMask)
	}
	wrapped, err := rsa.EncryptOAEPWithOptions(random, public, secret, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("wrap a key: %w", err)
	}
	return wrapped, method, nil
}

// standardValue turns the SignatureValue of an ECDSA signature, which the library writes as ASN.1, into the
// concatenation r || s of XML Signature 1.1 section 6.4.3.
func standardValue(signature *etree.Element, key crypto.Signer) error {
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil
	}
	value := signature.SelectElement("SignatureValue")
	der, err := base64.StdEncoding.DecodeString(value.Text())
	if err != nil {
		return err
	}
	var numbers struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &numbers); err != nil {
		return err
	}
	size := (ec.Curve.Params().BitSize + 7) / 8
	raw := make([]byte, 2*size)
	numbers.R.FillBytes(raw[:size])
	numbers.S.FillBytes(raw[size:])
	value.SetText(base64.StdEncoding.EncodeToString(raw))
	return nil
}
