// Package storefile reads the files of a Badger store (v4, neither compressed nor encrypted) without Badger:
// write-ahead files (.mem), value logs (.vlog), tables (.sst) and the MANIFEST. Badger repairs a damaged
// file by cutting it off, drops what it cannot read when it compacts, deletes tables that the MANIFEST does
// not name, and ends the process over a damaged table index (docs/formats.md 5); this package says what is
// damaged before Badger is let near, and reads what is still whole.
//
// It owns the layout of those files. It never writes, keeps no state, and knows nothing of what keys and
// values mean. Everything it reads is hostile: sizes are bounded, no input makes it panic.
package storefile
