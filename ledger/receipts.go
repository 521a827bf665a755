package ledger

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// States of a record of tableReceipt, its first byte; the sealed envelope follows.
const (
	receiptPending = 0 // a receiptBasis
	receiptSigned  = 1 // a compact JWS
)

// receiptBasis is what is known of a receipt before the log's order is.
type receiptBasis struct {
	Exchange    exchange.ID  `json:"exchange"`
	Principal   string       `json:"principal"`
	Issued      int64        `json:"iat"`
	Request     *receiptPart `json:"request,omitempty"` // nil: this entry is the request's too
	RequestBody Hash         `json:"request_body"`      // where Request is nil
	Body        Hash         `json:"body"`              // of our answer
	Status      int          `json:"status"`
	Origin      string       `json:"origin"` // upstream or gateway
}

// receiptPart, receiptAnswer, receiptTree and receiptPayload are the payload of formats.md 7.
type receiptPart struct {
	N     uint64 `json:"n"`
	Entry Hash   `json:"entry"`
	Body  Hash   `json:"body"`
}

type receiptAnswer struct {
	N      uint64 `json:"n"`
	Entry  Hash   `json:"entry"`
	Body   Hash   `json:"body"`
	Status int    `json:"status"`
	Origin string `json:"origin"`
}

type receiptTree struct {
	Size uint64 `json:"size"`
	Root string `json:"root"`
}

type receiptPayload struct {
	Issuer    string        `json:"iss"`
	Issued    int64         `json:"iat"`
	Exchange  exchange.ID   `json:"exchange"`
	Principal string        `json:"principal"`
	Request   receiptPart   `json:"request"`
	Response  receiptAnswer `json:"response"`
	Tree      receiptTree   `json:"tree"`
}

// pending is a receipt on its way. Its sealed basis is enclosed with the entry, so that a crash leaves a receipt that can still be signed.
type pending struct {
	exchange uuid.UUID
	basis    receiptBasis
	key      *classKey

	n     uint64 // set by place, before anybody else sees it
	entry Hash

	done    chan struct{} // closed when compact is set
	compact string
}

// newPending gives a receipt, and what is stored of it until it is signed.
func newPending(origin string, x uuid.UUID, b receiptBasis, ck *classKey) (p *pending, sealed []byte, err error) {
	plain, err := json.Marshal(b)
	if err != nil {
		return nil, nil, err
	}
	env, err := sealEnvelope(origin, x, plain, ck)
	if err != nil {
		return nil, nil, fmt.Errorf("sealing a receipt: %w", err)
	}
	return &pending{exchange: x, basis: b, key: ck, done: make(chan struct{})}, append([]byte{receiptPending}, env...), nil
}

func (p *pending) place(r exchange.Recorded) { p.n, p.entry = r.N, r.Entry }

// payload completes the receipt with its place and a signed checkpoint.
func (p *pending) payload(origin string, tree mark) ([]byte, error) {
	b := p.basis
	out := receiptPayload{Issuer: origin, Issued: b.Issued, Exchange: b.Exchange, Principal: b.Principal,
		Response: receiptAnswer{N: p.n, Entry: p.entry, Body: b.Body, Status: b.Status, Origin: b.Origin},
		Tree:     receiptTree{Size: tree.size, Root: base64.StdEncoding.EncodeToString(tree.root[:])}}
	if b.Request != nil {
		out.Request = *b.Request
	} else {
		out.Request = receiptPart{N: p.n, Entry: p.entry, Body: b.RequestBody}
	}
	return json.Marshal(out)
}

// ErrPending says that a receipt is not signed yet.
var ErrPending = errors.New("the receipt is not signed yet")

// Receipt gives the compact JWS of an exchange. While it is being signed it waits until ctx ends, and
// then says ErrPending. ErrNotFound: no closing entry of that exchange is known.
func (l *Ledger) Receipt(ctx context.Context, id exchange.ID) (string, error) {
	x, err := uuid.Parse(string(id))
	if err != nil {
		return "", fmt.Errorf("exchange id: %w", err)
	}
	if p := l.notary.waiting(x); p != nil {
		select {
		case <-p.done:
			return p.compact, nil
		case <-l.notary.stopped: // stopping, or the log is forked: at once instead of at ctx's end
			select {
			case <-p.done:
				return p.compact, nil
			default:
			}
			return "", fmt.Errorf("%w: %w", ErrPending, l.notary.ended())
		case <-ctx.Done():
			return "", fmt.Errorf("%w: %w", ErrPending, ctx.Err())
		}
	}
	return readReceipt(ctx, l.self, l.opts.Origin, x)
}

// readReceipt opens the stored receipt of an exchange.
func readReceipt(ctx context.Context, o *opener, origin string, x uuid.UUID) (string, error) {
	b, err := o.view.Get(ctx, receiptKey(x))
	if err != nil {
		return "", err
	}
	if len(b) == 0 {
		return "", errors.New("the receipt's record is empty")
	}
	plain, err := openEnvelope(ctx, o, origin, x, b[1:])
	if err != nil {
		return "", err
	}
	switch b[0] {
	case receiptPending:
		return "", ErrPending
	case receiptSigned:
		return string(plain), nil
	}
	return "", fmt.Errorf("the receipt's record is of state %d: %w", b[0], ErrUnknown)
}
