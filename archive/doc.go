// Package archive makes conservation packages and checks them.
//
// A package is a contiguous range of one own chain (one principal, one retention class) as a BagIt 1.0 bag
// (RFC 8493) whose index is a UNI 11386:2020 PIndex, sealed as CAdES and time-stamped as a whole, so that a
// stranger verifies it with sha256sum, xmllint and openssl in twenty years (docs/formats.md, section 9;
// data/README.txt in every package says how).
//
// It owns the layout and every text in a package, their schemas, and the verdict about a package. It does not
// own ledger, keys or authorities: what it needs of them stands in seams.go as small interfaces, which cmd
// fills. It writes below the directory it is given and nowhere else, appends no entries and logs nothing.
package archive
