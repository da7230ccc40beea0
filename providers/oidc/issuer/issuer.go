package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Options configures an issuer. Every field may be left zero.
type Options struct {
	URL        string           // the issuer, as in iss; may be set later by SetURL
	Algorithms []string         // RS256, ES256, EdDSA; a key is made for each. Default RS256
	KeyBits    int              // of RSA keys; default 2048
	Lifetime   time.Duration    // of a token; default 5 minutes
	Now        func() time.Time // default time.Now
	Rand       io.Reader        // for key ids; default crypto/rand. Keys always come from crypto/rand
}

// A Key is one signing key of an issuer.
type Key struct {
	ID        string
	Algorithm string
	Use       string // "sig", unless a test says otherwise
	Private   crypto.Signer
	Published bool // in the JWK Set
}

// Requests counts what the issuer was asked for.
type Requests struct {
	Discovery int
	JWKS      int
}

// An Issuer is an OpenID issuer.
type Issuer struct {
	options Options

	mu       sync.Mutex
	url      string
	keys     []Key // newest last
	down     bool
	requests Requests
	alter    func(path string, body []byte) []byte
}

// New returns an issuer with one published key for each algorithm.
func New(o Options) (*Issuer, error) {
	if len(o.Algorithms) == 0 {
		o.Algorithms = []string{"RS256"}
	}
	if o.KeyBits == 0 {
		o.KeyBits = 2048
	}
	if o.Lifetime == 0 {
		o.Lifetime = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	i := &Issuer{options: o, url: o.URL}
	if err := i.Rotate(true); err != nil {
		return nil, err
	}
	return i, nil
}

// URL returns the issuer's identifier.
func (i *Issuer) URL() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.url
}

// SetURL sets the issuer's identifier, which a caller often knows only when its listener is open.
func (i *Issuer) SetURL(url string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.url = url
}

// SetDown makes every request fail with 503, until SetDown(false).
func (i *Issuer) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Requests returns what the issuer was asked for so far, answered or not.
func (i *Issuer) Requests() Requests {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests
}

// Rotate makes a new key for each algorithm. The former ones stay published if keep is true, and are withdrawn if not.
func (i *Issuer) Rotate(keep bool) error {
	fresh := make([]Key, 0, len(i.options.Algorithms))
	for _, algorithm := range i.options.Algorithms {
		key, err := i.NewKey(algorithm)
		if err != nil {
			return err
		}
		fresh = append(fresh, key)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !keep {
		for n := range i.keys {
			i.keys[n].Published = false
		}
	}
	i.keys = append(i.keys, fresh...)
	return nil
}

// NewKey makes a key that the issuer does not publish unless it is given to Publish.
func (i *Issuer) NewKey(algorithm string) (Key, error) {
	id := make([]byte, 8)
	if _, err := io.ReadFull(i.options.Rand, id); err != nil {
		return Key{}, fmt.Errorf("issuer: making a key id: %w", err)
	}
	private, err := generate(algorithm, i.options.KeyBits)
	if err != nil {
		return Key{}, fmt.Errorf("issuer: making a key for %s: %w", algorithm, err)
	}
	return Key{ID: hex.EncodeToString(id), Algorithm: algorithm, Use: "sig", Private: private, Published: true}, nil
}

func generate(algorithm string, bits int) (crypto.Signer, error) {
	switch algorithm {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return rsa.GenerateKey(rand.Reader, bits)
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, errors.New("the algorithm is not known")
}

// Publish adds a key to the JWK Set, as the newest of its algorithm.
func (i *Issuer) Publish(key Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key.Published = true
	i.keys = append(i.keys, key)
}

// Withdraw takes the keys of that id out of the JWK Set. Tokens can still be signed with them.
func (i *Issuer) Withdraw(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := range i.keys {
		if i.keys[n].ID == id {
			i.keys[n].Published = false
		}
	}
}

// Keys returns all keys, newest last.
func (i *Issuer) Keys() []Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]Key(nil), i.keys...)
}

// KeyID returns the id of the key that signs by default: the newest of the first algorithm.
func (i *Issuer) KeyID() string {
	key, err := i.key("", "")
	if err != nil {
		return ""
	}
	return key.ID
}

// key finds the newest key of an algorithm, or the one of an id; both may be "".
func (i *Issuer) key(algorithm, id string) (Key, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if algorithm == "" && id == "" {
		algorithm = i.options.Algorithms[0]
	}
	for n := len(i.keys) - 1; n >= 0; n-- {
		key := i.keys[n]
		if (algorithm == "" || key.Algorithm == algorithm) && (id == "" || key.ID == id) {
			return key, nil
		}
	}
	return Key{}, fmt.Errorf("issuer: there is no key %q for algorithm %q", id, algorithm)
}

// Alter changes each answer before it is sent, for tests of bad answers; nil changes nothing.
func (i *Issuer) Alter(change func(path string, body []byte) []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.alter = change
}

// The paths that an issuer serves, below its URL.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	JWKSPath      = "/jwks.json"
)

// ServeHTTP serves the discovery document and the JWK Set at the end of whatever path the issuer's URL has.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body any
	i.mu.Lock()
	down, alter := i.down, i.alter
	path := ""
	switch {
	case strings.HasSuffix(r.URL.Path, DiscoveryPath):
		path = DiscoveryPath
		i.requests.Discovery++
		body = i.discovery()
	case strings.HasSuffix(r.URL.Path, JWKSPath):
		path = JWKSPath
		i.requests.JWKS++
		body = i.set()
	}
	i.mu.Unlock()
	switch {
	case down:
		http.Error(w, "down for a test", http.StatusServiceUnavailable)
		return
	case path == "":
		http.NotFound(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	raw, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if alter != nil {
		raw = alter(path, raw)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(raw) //nolint:errcheck // the client is gone, and nobody is left to tell
}

// discovery returns the document of OpenID Connect Discovery 1.0 section 3. The endpoints that it must name answer 404.
func (i *Issuer) discovery() map[string]any {
	base := strings.TrimSuffix(i.url, "/")
	return map[string]any{
		"issuer":                                i.url,
		"jwks_uri":                              base + JWKSPath,
		"authorization_endpoint":                base + "/authorize",
		"token_endpoint":                        base + "/token",
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": i.options.Algorithms,
	}
}

func (i *Issuer) set() jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range i.keys {
		if key.Published {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Private.Public(), KeyID: key.ID, Algorithm: key.Algorithm, Use: key.Use})
		}
	}
	return set
}
