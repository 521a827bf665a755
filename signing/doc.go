// Package signing makes and verifies what Sigillo signs: electronic seals (CAdES) and RFC 3161 time-stamps.
package signing
