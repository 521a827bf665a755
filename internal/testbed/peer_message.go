package testbed

import (
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

//go:embed messages
var messages embed.FS

const (
	envelopeHead = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">
<soapenv:Header/>
<soapenv:Body>
`
	envelopeTail = `</soapenv:Body>
</soapenv:Envelope>
`
	soapNamespace = "http://schemas.xmlsoap.org/soap/envelope/"
	maxDepth      = 64     // elements in elements
	maxLeaves     = 100000 // texts of one message
)

// envelope puts one child of Body into a SOAP 1.1 envelope.
func envelope(body []byte) []byte {
	return []byte(envelopeHead + string(body) + envelopeTail)
}

// leaves are the texts of a message's innermost elements by local name, in document order.
type leaves map[string][]string

// first returns the first text that stands under one of names, the names tried in their order.
func (l leaves) first(names ...string) string {
	for _, name := range names {
		if texts := l[name]; len(texts) > 0 {
			return texts[0]
		}
	}
	return ""
}

// parseSOAP reads a SOAP message in UTF-8: the name of Body's first child, and all texts, those of Header included.
func parseSOAP(text []byte) (xml.Name, leaves, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	// plainText has already made UTF-8 of whatever the declaration still says.
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	var (
		root  xml.Name
		found = leaves{}
		path  []xml.Name
		data  strings.Builder
		leaf  bool
		count int
	)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return xml.Name{}, nil, fmt.Errorf("read SOAP message: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if len(path) == 2 && root.Local == "" && path[1] == (xml.Name{Space: soapNamespace, Local: "Body"}) {
				root = t.Name
			}
			if path = append(path, t.Name); len(path) > maxDepth {
				return xml.Name{}, nil, fmt.Errorf("read SOAP message: more than %d elements deep", maxDepth)
			}
			data.Reset()
			leaf = true
		case xml.CharData:
			data.Write(t)
		case xml.EndElement:
			if leaf {
				if count++; count > maxLeaves {
					return xml.Name{}, nil, fmt.Errorf("read SOAP message: more than %d texts", maxLeaves)
				}
				found[t.Name.Local] = append(found[t.Name.Local], strings.TrimSpace(data.String()))
			}
			leaf = false
			path = path[:len(path)-1]
		}
	}
	if root.Local == "" {
		return xml.Name{}, nil, errors.New("read SOAP message: no Body with a child")
	}
	return root, found, nil
}

// fill copies a template, with the texts of its innermost elements replaced by values (by local name) and, if
// root is not empty, its outermost element renamed. A text "@NAME" stands for the document messages/inner/NAME.xml,
// itself filled and then in base64.
func fill(template []byte, root string, values map[string]string) ([]byte, error) {
	d := xml.NewDecoder(bytes.NewReader(template))
	var (
		out  bytes.Buffer
		text strings.Builder
		leaf bool
		deep int
	)
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("fill message: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if leaf {
				out.WriteString(text.String()) // only indentation stands before a child
			}
			text.Reset()
			out.WriteString("<" + qualified(t.Name, root, deep == 0))
			for _, a := range t.Attr {
				out.WriteString(" " + qualified(a.Name, "", false) + `="`)
				_ = xml.EscapeText(&out, []byte(a.Value)) // a bytes.Buffer does not fail
				out.WriteByte('"')
			}
			out.WriteByte('>')
			leaf = true
			deep++
		case xml.CharData:
			if leaf {
				text.Write(t)
			} else {
				out.Write(t)
			}
		case xml.EndElement:
			deep--
			if leaf {
				value, err := leafValue(t.Name.Local, text.String(), values)
				if err != nil {
					return nil, err
				}
				_ = xml.EscapeText(&out, []byte(value))
			}
			leaf = false
			out.WriteString("</" + qualified(t.Name, root, deep == 0) + ">")
		case xml.ProcInst:
			fmt.Fprintf(&out, "<?%s %s?>", t.Target, t.Inst)
		}
	}
}

func qualified(n xml.Name, root string, outermost bool) string {
	local := n.Local
	if outermost && root != "" {
		local = root
	}
	if n.Space == "" { // RawToken leaves the prefix in Space
		return local
	}
	return n.Space + ":" + local
}

func leafValue(name, text string, values map[string]string) (string, error) {
	if v, ok := values[name]; ok {
		return v, nil
	}
	inner, ok := strings.CutPrefix(text, "@")
	if !ok {
		return text, nil
	}
	template, err := messages.ReadFile("messages/inner/" + inner + ".xml")
	if err != nil {
		return "", fmt.Errorf("read inner document: %w", err)
	}
	document, err := fill(template, "", values)
	if err != nil {
		return "", fmt.Errorf("inner document %s: %w", inner, err)
	}
	return base64.StdEncoding.EncodeToString(document), nil
}

// filled reads the template messages/NAME.xml and fills it.
func filled(name, root string, values map[string]string) ([]byte, error) {
	template, err := messages.ReadFile("messages/" + name + ".xml")
	if err != nil {
		return nil, fmt.Errorf("read template: %w", err)
	}
	return fill(template, root, values)
}

// soapRequest is the request template messages/requests/NAME.xml, filled, in its envelope.
func soapRequest(name string, values map[string]string) ([]byte, error) {
	body, err := filled("requests/"+name, "", values)
	if err != nil {
		return nil, err
	}
	return envelope(body), nil
}

// Shapes that a value must have to be carried over: what a caller sends may be anything, what a peer answers
// stays valid against its schema.
var (
	shapeCreditor = regexp.MustCompile(`^[0-9]{11}$`)
	shapeNotice   = regexp.MustCompile(`^[0-9]{18}$`)
	shapeAmount   = regexp.MustCompile(`^[0-9]{1,9}\.[0-9]{2}$`)
	shapeCode     = regexp.MustCompile(`^[0-9A-Za-z_./-]{1,35}$`)
	shapeDate     = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	shapeText     = regexp.MustCompile(`^[0-9A-Za-zÀ-ÿ' .,()/-]{1,70}$`)
)

// carry takes from a message what an answer or a further message has to repeat: the result maps element names
// of the message to be made to texts.
func carry(l leaves) map[string]string {
	values := map[string]string{}
	put := func(shape *regexp.Regexp, value string, names ...string) {
		if !shape.MatchString(value) {
			return
		}
		for _, name := range names {
			values[name] = value
		}
	}
	put(shapeCreditor, l.first("fiscalCode", "fiscalCodePA", "identificativoDominio", "idPA", "CF"),
		"fiscalCode", "fiscalCodePA", "identificativoDominio", "idPA")
	notice := l.first("noticeNumber")
	put(shapeNotice, notice, "noticeNumber")
	put(shapeCode, firstNonEmpty(l.first("creditorReferenceId", "identificativoUnivocoVersamento"), iuvOf(notice)),
		"creditorReferenceId", "identificativoUnivocoVersamento")
	amount := firstNonEmpty(l.first("amount", "paymentAmount", "totalAmount", "importoSingoloVersamento"), amountOf(notice))
	if strings.Trim(amount, "0.") != "" { // stAmountNotZero
		put(shapeAmount, amount, "amount", "totalAmount", "transferAmount", "paymentAmount", "debtAmount",
			"importoSingoloVersamento", "singoloImportoPagato", "importoTotalePagamenti")
	}
	if iuv, amount := values["creditorReferenceId"], values["amount"]; iuv != "" && amount != "" {
		values["remittanceInformation"] = "/RFB/" + iuv + "/" + amount + "/TXT/DEBITORE/ANONIMO"
	}
	put(shapeDate, l.first("dueDate"), "dueDate")
	for _, name := range []string{"codiceContestoPagamento", "identificativoCarrello", "identificativoFlusso",
		"identificativoPSP", "identificativoIntermediarioPSP", "identificativoCanale", "idPSP", "idChannel", "IBAN"} {
		put(shapeCode, l.first(name), name)
	}
	for _, name := range []string{"companyName", "officeName", "paymentDescription"} {
		put(shapeText, l.first(name), name)
	}
	return values
}

func firstNonEmpty(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// iuvOf is the IUV inside a notice number: all but the aux digit for 1, 2 and 3, without the application code
// for 0; "" if notice is not 18 digits.
func iuvOf(notice string) string {
	if !shapeNotice.MatchString(notice) {
		return ""
	}
	if notice[0] == '0' {
		return notice[3:]
	}
	return notice[1:]
}

// amountOf is what the fake EC wants for a notice when nobody says otherwise: 1.00 to 499.99 euro out of its
// last eight digits, always the same for the same notice; "" if notice is not 18 digits.
func amountOf(notice string) string {
	if !shapeNotice.MatchString(notice) {
		return ""
	}
	cents := 0
	for _, digit := range notice[10:] {
		cents = cents*10 + int(digit-'0')
	}
	cents = 100 + cents%49900
	return fmt.Sprintf("%d.%02d", cents/100, cents%100)
}
