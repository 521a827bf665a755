// Package certs answers three questions about certificates: what does this server show (LoadServerCertificate),
// is the caller's chain good now (Trust), and which participant is it (Registry).
//
// It owns trust pools, pins and the reasons for which a chain is turned away. It opens the files that it is
// told to open and nothing else; it does not listen, log, cache or decide what a participant may do.
// It imports internal/exchange only. Everything here is immutable after construction and safe for concurrent use.
package certs
