package ledger

import "github.com/google/uuid"

// What the scanner reads byte by byte: each in its one canonical spelling.

func after(b []byte, lit string) ([]byte, bool) {
	if len(b) >= len(lit) && string(b[:len(lit)]) == lit {
		return b[len(lit):], true
	}
	return b, false
}

// number reads a decimal without leading zeros that fits 63 bits.
func number(b []byte) (v uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		v = v*10 + uint64(b[i]-'0')
	}
	if i == 0 || i > 18 || i > 1 && b[0] == '0' {
		return 0, nil, false
	}
	return v, b[i:], true
}

// nibbles is the value of a lower-case hexadecimal digit, 0xff of anything else.
var nibbles = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
	}
	return t
}()

// parseHash reads the 64 lower-case digits that b begins with.
func parseHash(b []byte, h *Hash) bool {
	if len(b) < 64 {
		return false
	}
	return parseHex(b[:64], h[:])
}

func parseHex(b, to []byte) bool {
	var bad byte
	for i := range to {
		hi, lo := nibbles[b[2*i]], nibbles[b[2*i+1]]
		bad |= hi | lo
		to[i] = hi<<4 | lo
	}
	return bad < 16
}

// parseUUID reads the canonical spelling that b begins with: lower case, with dashes.
func parseUUID(b []byte, x *uuid.UUID) bool {
	if len(b) < 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return false
	}
	return parseHex(b[:8], x[:4]) && parseHex(b[9:13], x[4:6]) && parseHex(b[14:18], x[6:8]) &&
		parseHex(b[19:23], x[8:10]) && parseHex(b[24:36], x[10:])
}
