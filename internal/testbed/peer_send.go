package testbed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
)

// message is a request that this package sends.
type message struct {
	method, url string
	contentType string
	action      string // SOAPAction, without its quotes
	behaviour   string // Demo-Behaviour
	body        []byte
}

// answered is the answer to a message, read to its end.
type answered struct {
	status            int
	header            http.Header
	body              []byte
	exchange, receipt string
	digest            string // as Nested.Digest
}

const xmlContentType = "text/xml; charset=utf-8"

// send sends m and reads the answer, at most maxMessage bytes of it.
func send(ctx context.Context, client *http.Client, m message) (answered, error) {
	request, err := http.NewRequestWithContext(ctx, m.method, m.url, bytes.NewReader(m.body))
	if err != nil {
		return answered{}, fmt.Errorf("make request: %w", err)
	}
	for name, value := range map[string]string{"Content-Type": m.contentType, "Demo-Behaviour": m.behaviour} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	if m.action != "" {
		request.Header.Set("SOAPAction", `"`+m.action+`"`)
	}
	response, err := client.Do(request)
	if err != nil {
		return answered{}, err
	}
	defer response.Body.Close()
	body, err := readBounded(response.Body)
	if err != nil {
		return answered{}, fmt.Errorf("read answer: %w", err)
	}
	a := answered{status: response.StatusCode, header: response.Header, body: body,
		exchange: response.Header.Get("Sigillo-Exchange"), receipt: response.Header.Get("Sigillo-Receipt")}
	if told := response.Header.Get("Demo-Received-SHA256"); told != "" {
		a.digest = "differs"
		if sum := sha256.Sum256(m.body); strings.EqualFold(told, hex.EncodeToString(sum[:])) {
			a.digest = "same"
		}
	}
	return a, nil
}
