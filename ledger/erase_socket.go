package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// The socket's part of erasing and disposing. What a verb may ask of the running instance is what Holder
// says, and nothing else: it cannot name the generation, the class-month of an exchange or the entry.

// maxRewrapped bounds one call with re-wrapped records, in bytes.
const maxRewrapped = 16 << 20

func (s *Socket) eraseRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /erase", func(w http.ResponseWriter, r *http.Request) {
		var q ErasureRequest
		if !readAsked(w, r, &q) {
			return
		}
		state, err := s.l.beginErasure(r.Context(), q)
		sayHeld(w, state, err)
	})
	mux.HandleFunc("POST /dispose", func(w http.ResponseWriter, r *http.Request) {
		var q DisposalRequest
		if !readAsked(w, r, &q) {
			return
		}
		sayHeld(w, nil, s.l.beginDisposal(r.Context(), q))
	})
	mux.HandleFunc("POST /rewrapped", func(w http.ResponseWriter, r *http.Request) {
		records, err := readRecords(http.MaxBytesReader(w, r.Body, maxRewrapped))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sayHeld(w, nil, s.l.storeRewrapped(r.Context(), askedMonth(r), records))
	})
	mux.HandleFunc("POST /erased", func(w http.ResponseWriter, r *http.Request) {
		sayHeld(w, nil, s.l.endErasure(r.Context(), askedMonth(r)))
	})
	mux.HandleFunc("POST /disposed", func(w http.ResponseWriter, r *http.Request) {
		sayHeld(w, nil, s.l.endDisposal(r.Context(), askedMonth(r)))
	})
}

func askedMonth(r *http.Request) classMonthID {
	return classMonthID{r.URL.Query().Get("class"), r.URL.Query().Get("month")}
}

// readAsked reads one JSON object with known keys only.
func readAsked(w http.ResponseWriter, r *http.Request, q any) bool {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAppend))
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err = d.Decode(q); err == nil && d.More() {
			err = errors.New("more than one object")
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

// heldErrors are the errors that a verb decides on, by their names on the socket.
var heldErrors = map[string]error{"erased": ErrErased, "erasing": ErrErasing, "disposed": ErrDisposed, "open": ErrOpenExchange, "not-found": ErrNotFound}

// sayHeld answers with a value, or with an error and its name.
func sayHeld(w http.ResponseWriter, v any, err error) {
	a := heldAnswer{}
	if err == nil {
		a.Value, err = json.Marshal(v)
	}
	if err != nil {
		a.Error = err.Error()
		for name, known := range heldErrors {
			if errors.Is(err, known) {
				a.Name = name
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a) // a verb that left is the verb's affair
}

type heldAnswer struct {
	Value json.RawMessage `json:"value,omitempty"`
	Error string          `json:"error,omitempty"`
	Name  string          `json:"name,omitempty"`
}

// readRecords reads records up to the empty key that ends them.
func readRecords(in io.Reader) ([]kv, error) {
	r := bufio.NewReader(in)
	var out []kv
	for {
		key, err := readField(r)
		if err != nil {
			return nil, fmt.Errorf("reading records: %w", err)
		}
		if len(key) == 0 {
			return out, nil
		}
		value, err := readField(r)
		if err != nil {
			return nil, fmt.Errorf("reading records: %w", err)
		}
		if len(out) == 16*rewrapBatch {
			return nil, fmt.Errorf("more than %d records", 16*rewrapBatch)
		}
		out = append(out, kv{key, value})
	}
}

// remoteError is an error of the running instance, with the one that it stands for.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// hold asks one thing of the running instance.
func (r *Remote) hold(ctx context.Context, path string, body []byte, into any) error {
	resp, err := r.do(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	var a heldAnswer
	err = json.NewDecoder(io.LimitReader(resp.Body, maxRecord)).Decode(&a)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("asking the running instance: %w", err)
	}
	if a.Error != "" {
		return &remoteError{a.Error, heldErrors[a.Name]}
	}
	if into != nil {
		return json.Unmarshal(a.Value, into)
	}
	return nil
}

func (r *Remote) holdJSON(ctx context.Context, path string, q, into any) error {
	b, err := json.Marshal(q)
	if err != nil {
		return err
	}
	return r.hold(ctx, path, b, into)
}

func monthQuery(path string, id classMonthID) string {
	return path + "?" + url.Values{"class": {id.class}, "month": {id.month}}.Encode()
}

func (r *Remote) beginErasure(ctx context.Context, q ErasureRequest) (s erasureState, err error) {
	err = r.holdJSON(ctx, "/erase", q, &s)
	return s, err
}

func (r *Remote) storeRewrapped(ctx context.Context, id classMonthID, records []kv) error {
	var b bytes.Buffer
	for _, x := range append(records[:len(records):len(records)], kv{}) {
		if err := writeField(&b, x.key); err != nil {
			return err
		}
		if len(x.key) > 0 {
			if err := writeField(&b, x.value); err != nil {
				return err
			}
		}
	}
	return r.hold(ctx, monthQuery("/rewrapped", id), b.Bytes(), nil)
}

func (r *Remote) endErasure(ctx context.Context, id classMonthID) error {
	return r.hold(ctx, monthQuery("/erased", id), nil, nil)
}

func (r *Remote) beginDisposal(ctx context.Context, q DisposalRequest) error {
	return r.holdJSON(ctx, "/dispose", q, nil)
}

func (r *Remote) endDisposal(ctx context.Context, id classMonthID) error {
	return r.hold(ctx, monthQuery("/disposed", id), nil, nil)
}
