package gateway

import (
	"net/http"

	"sigillo/internal/exchange"
)

// answerOf is what a caller gets for a reason: status and one sentence. The list is closed, and tells
// nothing of our inside.
type answerOf struct {
	status int
	title  string
}

var answers = map[exchange.Reason]answerOf{
	exchange.ReasonNoRoute:             {http.StatusNotFound, "No route serves this address."},
	exchange.ReasonMethod:              {http.StatusMethodNotAllowed, "This method is not served."},
	exchange.ReasonSyntax:              {http.StatusBadRequest, "The message is not well-formed, or not unambiguous."},
	exchange.ReasonActionMismatch:      {http.StatusBadRequest, "The SOAPAction contradicts the message."},
	exchange.ReasonTooLarge:            {http.StatusRequestEntityTooLarge, "The message is larger than this route allows."},
	exchange.ReasonBodyTimeout:         {http.StatusRequestTimeout, "The message did not arrive in time."},
	exchange.ReasonBodyAborted:         {http.StatusBadRequest, "The message did not arrive whole."},
	exchange.ReasonRole:                {http.StatusForbidden, "The caller has not the role that this route asks for."},
	exchange.ReasonClaim:               {http.StatusForbidden, "The message claims an identity that is not the caller's."},
	exchange.ReasonNotServed:           {http.StatusForbidden, "The message names a participant that this route does not serve."},
	exchange.ReasonPolicy:              {http.StatusForbidden, "Policy does not allow this operation."},
	exchange.ReasonUnavailable:         {http.StatusServiceUnavailable, "The exchange cannot be put on record now."},
	exchange.ReasonUpstreamUnreachable: {http.StatusBadGateway, "The other side cannot be reached."},
	exchange.ReasonUpstreamBroken:      {http.StatusBadGateway, "The other side broke off its answer."},
	exchange.ReasonUpstreamTooLarge:    {http.StatusBadGateway, "The other side's answer is larger than this route allows."},
	exchange.ReasonUpstreamTimeout:     {http.StatusGatewayTimeout, "The other side did not answer in time."},
}

// notIdentified is the answer to a caller whose certificate identifies no participant.
var notIdentified = answerOf{http.StatusForbidden, "The caller is not registered here."}
