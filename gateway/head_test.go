package gateway

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func fingerprint(der []byte) string { return fmt.Sprintf("%x", sha256.Sum256(der)) }

func TestRedaction(t *testing.T) {
	const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln"
	for _, c := range [][3]string{
		{"ocp-apim-subscription-key", "abc", "redacted;len=3"},
		{"Cookie", "a=b", "redacted;len=3"},
		{"Authorization", "Basic YTpi", "redacted;len=10"},
		{"Authorization", "Bearer opaque", "Bearer redacted;len=6"},
		{"Authorization", "Bearer " + jwt, "Bearer " + jwt},
		{"Agid-JWT-Signature", jwt, jwt},
		{"X-Request-Id", "abc", "abc"},
	} {
		if got := redactField(c[0], c[1]); got != c[2] {
			t.Errorf("%s: %s is kept as %s, want %s", c[0], c[1], got, c[2])
		}
	}
	if got := redactTarget("/p?a=1&Subscription-Key=xyz&b=%20"); got != "/p?a=1&Subscription-Key=redacted;len=3&b=%20" {
		t.Error(got)
	}
}

// FuzzHead: a head is one line of JSON whatever the fields hold, and never holds a credential.
func FuzzHead(f *testing.F) {
	f.Add("X-A", "value", "secret-0123456789", "/p?token=x")
	f.Add("X-\xff", "caf\xe9\n", "s\x00secret-9876543210", "\xff")
	f.Fuzz(func(t *testing.T, name, value, secret, target string) {
		h := http.Header{name: {value}, "Cookie": {secret}, "Ocp-Apim-Subscription-Key": {secret}}
		line := (&head{Method: "GET", Target: text(redactTarget(target)), Version: "HTTP/1.1", Fields: headFields(h, "host")}).line(time.Unix(1, 0), time.Unix(2, 0))
		if strings.ContainsRune(string(line), '\n') || !json.Valid(line) {
			t.Fatalf("not one line of JSON: %q", line)
		}
		if len(secret) > 12 && !strings.Contains(name+value+target, secret) && strings.Contains(string(line), secret) {
			t.Fatalf("a credential is in the head: %q", line)
		}
	})
}
