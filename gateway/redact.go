package gateway

import (
	"fmt"
	"net/textproto"
	"regexp"
	"strings"
)

// credentialFields are header fields whose values are credentials: they are replaced before anything is
// hashed, recorded or logged. Agid-JWT-* and a JWS in Authorization are kept whole: they are the evidence
// of identity (docs/formats.md, section 3).
var credentialFields = map[string]bool{
	"Ocp-Apim-Subscription-Key": true,
	"X-Api-Key":                 true,
	"Api-Key":                   true,
	"Cookie":                    true,
	"Set-Cookie":                true,
	"Proxy-Authorization":       true,
}

// credentialParameters are query parameters whose values are credentials.
var credentialParameters = map[string]bool{
	"subscription-key": true, "api-key": true, "apikey": true, "api_key": true, "access_token": true, "token": true, "password": true, "key": true,
}

// compactJWS is three base64url parts, the first and the second not empty.
var compactJWS = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$`)

func redacted(value string) string { return fmt.Sprintf("redacted;len=%d", len(value)) }

// redactField gives what is kept of a header field's value.
func redactField(name, value string) string {
	name = textproto.CanonicalMIMEHeaderKey(name)
	if credentialFields[name] {
		return redacted(value)
	}
	if name == "Authorization" {
		scheme, token, ok := strings.Cut(value, " ")
		if ok && strings.EqualFold(scheme, "Bearer") || ok && strings.EqualFold(scheme, "DPoP") {
			if compactJWS.MatchString(strings.TrimSpace(token)) {
				return value
			}
			return scheme + " " + redacted(token)
		}
		return redacted(value)
	}
	return value
}

// redactTarget gives a request target with the values of credential parameters replaced; every other byte
// stays.
func redactTarget(target string) string {
	path, query, ok := strings.Cut(target, "?")
	if !ok {
		return target
	}
	parts := strings.Split(query, "&")
	for i, p := range parts {
		name, value, has := strings.Cut(p, "=")
		if has && credentialParameters[strings.ToLower(name)] {
			parts[i] = name + "=" + redacted(value)
		}
	}
	return path + "?" + strings.Join(parts, "&")
}
