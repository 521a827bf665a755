package archive

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:embed readme.txt
var readmeText string

// readme is data/README.txt: what the package is and how to check it without Sigillo, in Italian and in English.
func (o *Options) readme(s span) []byte {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	root := "DocumentoInformatico"
	if o.administrative() {
		root = "DocumentoAmministrativoInformatico"
	}
	return []byte(strings.NewReplacer(
		"{ID}", o.id(), "{OWN}", o.own(), "{ORIGIN}", s.origin, "{PRODUCER}", o.Producer.Name, "{ROOT}", root,
		"{FIRST}", number(o.First), "{LAST}", number(o.Last), "{FIRSTN}", number(s.firstN), "{LASTN}", number(s.lastN),
		"{SOFTWARE}", o.Software.Name+" "+o.Software.Version).Replace(readmeText))
}
