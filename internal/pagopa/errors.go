package pagopa

import (
	"errors"
	"fmt"
)

// SyntaxCode says in one stable word why a message cannot be classified without guessing.
type SyntaxCode string

// The syntax codes: a closed list, fit for metrics and entries.
const (
	NotWellFormed     SyntaxCode = "not-well-formed" // XML or JSON that its specification does not allow
	Processing        SyntaxCode = "processing"      // DTD, entity or processing instruction (SOAP 1.1, section 3, forbids them)
	Charset           SyntaxCode = "charset"         // bytes that the charset does not allow, or a charset that we do not know
	UnboundPrefix     SyntaxCode = "unbound-prefix"  // a namespace prefix that nothing declares, or a forbidden declaration
	EnvelopeStructure SyntaxCode = "envelope"        // no Body, two Headers, Header after Body, foreign content in the envelope
	TwoBodies         SyntaxCode = "two-bodies"      // more than one soap:Body
	TwoProtocols      SyntaxCode = "two-protocols"   // XML where method and path are those of a REST operation
	TwoOperations     SyntaxCode = "two-operations"  // more than one element in soap:Body
	TooDeep           SyntaxCode = "too-deep"        // nested deeper than 64
	TooBig            SyntaxCode = "too-big"         // a tag, a text, an attribute list, a list of keys over its limit
	AmbiguousKey      SyntaxCode = "ambiguous-key"   // a key twice where one may stand, or one with elements inside
	BadMultipart      SyntaxCode = "multipart"       // a multipart body whose root part cannot be told for certain
	BadContentType    SyntaxCode = "content-type"    // a Content-Type with the same parameter twice
	BadPath           SyntaxCode = "path"            // dot segments, encoded separators or control characters in the path
	BadQuery          SyntaxCode = "query"           // a query that is not form encoded UTF-8, where a key stands in it
)

// SyntaxError is why a message is refused with HTTP 400. Its text holds no content of the message.
type SyntaxError struct {
	Code SyntaxCode
	Text string
}

func (e *SyntaxError) Error() string { return "the message is ambiguous or malformed: " + e.Text }

func syntaxErrorf(code SyntaxCode, format string, args ...any) error {
	return &SyntaxError{Code: code, Text: fmt.Sprintf(format, args...)}
}

// ErrActionMismatch is wrapped by the error of a request whose SOAPAction (header, ?soapAction= or action
// parameter of the Content-Type) contradicts the operation in its body. The Classified beside it is filled.
var ErrActionMismatch = errors.New("the SOAPAction contradicts the operation in the body")

// ErrOtherAnswer is wrapped by the error of Response for an answer that belongs to another operation than
// the one that was asked. The outcome beside it is "none", the keys are those of the answer.
var ErrOtherAnswer = errors.New("the answer is not one of the operation that was asked")

// Findings: what is odd about a message and yet no reason to stop reading it. A finding on a key is
// followed by ":" and the catalogue's name of the key, e.g. "key-too-long:notice".
const (
	FindingKeyTooLong      = "key-too-long"               // over 256 bytes: not among the keys
	FindingKeyNotScalar    = "key-not-scalar"             // JSON array or object where a value belongs: not among the keys
	FindingContentEncoding = "content-encoding-unread"    // unknown, broken or over 32 MiB decoded: not classified
	FindingNotSOAP         = "not-soap"                   // XML or other content where a SOAP envelope belongs
	FindingEmptyBody       = "soap-body-empty"            // soap:Body without an element
	FindingMethod          = "soap-method"                // a SOAP message under another method than POST: unknown, REST servers go by the method
	FindingUnknownAction   = "action-of-known-operation"  // the body is unknown, its SOAPAction names an operation of the catalogue
	FindingCharsetConflict = "charset-conflict"           // Content-Type and XML declaration differ; Content-Type was followed (RFC 7303, section 3)
	FindingNoCharset       = "charset-undeclared"         // an XML answer without charset parameter: a relay may decode it as ISO-8859-1
	FindingContentType     = "content-type-malformed"     // parameters that could not be read
	FindingNotJSON         = "body-not-json"              // a body with keys was expected and is not JSON, nor declared as such
	FindingOtherAnswer     = "answer-of-other-operation"  // see ErrOtherAnswer
	FindingNoOutcome       = "outcome-missing"            // the catalogue has an outcome for this answer, the answer has none
	FindingStatus          = "status-contradicts-outcome" // outcome OK under an HTTP status of 400 or more
)
