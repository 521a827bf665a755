package ledger

import (
	"context"
	"errors"
	"fmt"
)

// witnessConsistency is the consistency proof between two sizes of the log, held against the root of the
// larger one before it leaves: a witness that refuses it then speaks of another history, not of a store
// that cannot be read rightly.
func witnessConsistency(ctx context.Context, v View, from, to uint64, root Hash) ([]Hash, error) {
	node := nodes(ctx, v, to)
	if whole, err := rangeRoot(0, to, node); err != nil || whole != root {
		return nil, errors.Join(fmt.Errorf("the tree of size %d does not have the root that was signed", to), err)
	}
	if from == 0 || from == to {
		return nil, nil
	}
	path, err := ConsistencyProof(ctx, v, from, to)
	if err != nil {
		return nil, err
	}
	before, err := rangeRoot(0, from, node)
	if err != nil {
		return nil, err
	}
	if err := VerifyConsistency(from, to, path, before, root); err != nil {
		return nil, fmt.Errorf("the proof from size %d to %d does not hold: %w", from, to, err)
	}
	return path, nil
}
