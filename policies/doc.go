// Package policies decides whether an exchange may pass: Cedar policies, deny by default.
//
// It owns the Cedar schema, the default pagoPA pack (both embedded, both written to be read by a
// compliance officer) and the translation of an exchange.Question into a Cedar request. It acts on
// nothing: files are read in Load only, Decide does no I/O and keeps no state.
//
// A pack is one folder: policy files *.cedar and, optionally, schema.cedarschema (without one the
// embedded schema checks the pack). Every policy carries @id("…"); those ids are what stands in ledger
// entries. The digest of a pack is the SHA-256 of what sha256sum prints for its files in byte order of
// their names, so that anybody can compute it again from the folder:
//
//	LC_ALL=C sh -c 'sha256sum *.cedar* | sha256sum'
//
// Three ids are Sigillo's own and start with "sigillo-": a denial that no policy decided says so by one
// of them (see Decide).
package policies
