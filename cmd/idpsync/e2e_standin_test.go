package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// standIns are small programs that the test binary becomes when it is started under another name: just enough of the
// real ones for the lines that the demo prints.
var standIns = map[string]func(args []string) int{"curl": standInCurl, "nats": standInNATS}

// take removes each flag from args with its value and returns the values.
func take(args *[]string, flag string) (values []string) {
	for {
		i := slices.Index(*args, flag)
		if i < 0 || i+1 == len(*args) {
			return values
		}
		values = append(values, (*args)[i+1])
		*args = slices.Delete(*args, i, i+2)
	}
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func standInCurl(args []string) int {
	headers, data := take(&args, "-H"), take(&args, "-d")
	url := args[len(args)-1]
	method, body := http.MethodGet, ""
	if len(data) > 0 {
		method = http.MethodPost
		content, err := os.ReadFile(strings.TrimPrefix(data[0], "@"))
		if err != nil {
			return report(err)
		}
		body = strings.ReplaceAll(string(content), "\n", "") // as curl does
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body)) //nolint:noctx // the process ends with it
	if err != nil {
		return report(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	res, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return report(err)
	}
	defer func() { _ = res.Body.Close() }()
	fmt.Fprintln(os.Stdout, res.Status)
	_, err = io.Copy(os.Stdout, res.Body)
	return report(err)
}

func standInNATS(args []string) int {
	servers, headers := take(&args, "--server"), take(&args, "-H")
	conn, err := nats.Connect(servers[0])
	if err != nil {
		return report(err)
	}
	defer conn.Close()
	m := nats.NewMsg("$SRV.PING.idpsync")
	if len(args) == 3 {
		m.Subject, m.Data = args[1], []byte(args[2])
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		m.Header.Add(name, strings.TrimSpace(value))
	}
	switch args[0] {
	case "pub":
		return report(conn.PublishMsg(m)) // Close flushes
	case "sub": // what it prints comes when something happens
		_, err := conn.SubscribeSync(args[1])
		return report(err)
	}
	answer, err := conn.RequestMsg(m, 30*time.Second)
	if err != nil {
		return report(err)
	}
	if !json.Valid(answer.Data) || answer.Header.Get("Nats-Service-Error-Code") != "" {
		return report(fmt.Errorf("%v %s", answer.Header, answer.Data))
	}
	fmt.Fprintf(os.Stdout, "%s\n", answer.Data)
	return 0
}
