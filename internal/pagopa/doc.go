// Package pagopa knows pagoPA's messages: the catalogue of operations and fault codes, and the classifier
// that finds an operation, its business keys and its outcome in the bytes of a message.
//
// The catalogue is data (data/operations.tsv, data/faultcodes.tsv), parsed by Load; no operation has code of
// its own. A SOAP message is classified by the qualified name of the element inside soap:Body, a REST message
// by method and path template; never by prefix, file name or URL of a SOAP service. XML and JSON are streamed:
// no tree is built, memory does not grow with the body, depth and sizes are bounded, a DTD is refused. What two
// parsers could read differently (two Bodies, an identity that stands twice) is an error and never a guess.
//
// The package opens nothing, logs nothing, decides nothing: that an operation is "unknown" is for policy to
// judge. Errors and findings carry no content of the message, so they may be logged; Classified.Name and all
// keys are content and may not. It imports internal/exchange only.
package pagopa
