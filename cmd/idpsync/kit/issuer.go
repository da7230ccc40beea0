package kit

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
)

// ServeIssuer serves an issuer on a free port of this machine and gives it its URL. before, which may be nil, runs first
// for each request. The function that it returns ends it.
func ServeIssuer(i *issuer.Issuer, before http.HandlerFunc) (stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i.SetURL("http://" + l.Addr().String())
	site := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before != nil {
			before(w, r)
		}
		i.ServeHTTP(w, r)
	})}
	served := make(chan error, 1)
	go func() { served <- site.Serve(l) }()
	return func() error {
		err := site.Close() // whoever still asks for keys is the worker, which has stopped
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}, nil
}

// Login makes the payload of a login event from what an issuer returned for its ID token.
func Login(token string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"id_token": token})
}
