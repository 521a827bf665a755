package certs

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
)

// attributeNames are the short names that openssl prints.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
	"2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description",
	"2.5.4.15": "businessCategory", "2.5.4.17": "postalCode", "2.5.4.42": "GN", "2.5.4.43": "initials",
	"2.5.4.46": "dnQualifier", "2.5.4.65": "pseudonym", "2.5.4.97": "organizationIdentifier",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "emailAddress",
	"1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL", "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
	"1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}

// DistinguishedName writes a DER name as `openssl x509 -noout -subject -nameopt RFC2253` does (RFC 2253, last
// attribute first, every byte outside ASCII as \XX), so that an operator can paste openssl's output into a pin.
// A name that is not DER gives "".
func DistinguishedName(der []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return ""
	}
	var b strings.Builder
	for i := len(name) - 1; i >= 0; i-- {
		if i < len(name)-1 {
			b.WriteByte(',')
		}
		// openssl turns the order of a multi-valued RDN round too.
		for j := len(name[i]) - 1; j >= 0; j-- {
			if j < len(name[i])-1 {
				b.WriteByte('+')
			}
			writeAttribute(&b, name[i][j])
		}
	}
	return b.String()
}

func writeAttribute(b *strings.Builder, a pkix.AttributeTypeAndValue) {
	oid := a.Type.String()
	name, known := attributeNames[oid]
	value, isText := a.Value.(string)
	if !known || !isText {
		// RFC 2253, section 2.4: an attribute without a string form is written as the hex of its DER.
		if der, err := asn1.Marshal(a.Value); err == nil {
			if !known {
				name = oid
			}
			fmt.Fprintf(b, "%s=#%X", name, der)
		}
		return
	}
	b.WriteString(name)
	b.WriteByte('=')
	for i := range len(value) {
		c := value[i]
		switch {
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(b, `\%02X`, c)
			continue
		case strings.IndexByte(`,+"\<>;`, c) >= 0, i == 0 && (c == '#' || c == ' '), i == len(value)-1 && c == ' ':
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
}
