// Package signing owns every key that Sigillo uses and all that is made with them: keys in Vault transit or,
// for a demonstration, in files (custody), compact JWS receipts, electronic seals (CAdES) and RFC 3161
// time-stamps.
//
// It knows nothing of exchanges, entries or packages: it signs bytes, wraps keys and checks signatures. It
// imports no room. jwx and pkcs7 are imported here and nowhere else.
package signing
