package main

import (
	"fmt"
	"math/big"

	"go.temporal.io/sdk/temporal"
)

// Call is the one argument of every atom.
type Call[I any] struct {
	Input   I           `json:"input"`
	Context StepContext `json:"context"`
}

// StepContext says on whose behalf an atom acts.
type StepContext struct {
	Run  string `json:"run"`
	Step string `json:"step"`
	// Key is the same for every delivery of one step: whatever was done under it is not done again.
	Key string `json:"key"`
	// Fence is a decimal number that rises with every lock; empty without a lock.
	Fence  string `json:"fence"`
	Tenant string `json:"tenant"`
	DryRun bool   `json:"dryRun"`
}

// Progress is what a heartbeat tells the people who watch the run.
type Progress struct {
	Percent int    `json:"percent"`
	Message string `json:"message"`
}

type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
}

// refuse is a failure that a repeat cannot mend. The code is what a flow's catch names: a short name of the flow
// language, or atom/<atom name>/<code>. Every other error is retried as the step says.
func refuse(code string, status int, detail string) error {
	p := problem{Type: "https://opsloop.dev/errors/" + code, Title: "The action was refused", Status: status, Code: code, Detail: detail}
	return temporal.NewApplicationErrorWithOptions(detail, code, temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{p}})
}

// fences remembers the highest fence per resource.
type fences map[string]*big.Int

// pass lets the holder of the newest lock through, and nobody who lost it.
func (f fences) pass(resource, fence string) error {
	if fence == "" {
		return nil
	}
	mine, ok := new(big.Int).SetString(fence, 10)
	if !ok {
		return refuse("validation", 400, fmt.Sprintf("fence %q is no number", fence))
	}
	if seen, known := f[resource]; known && mine.Cmp(seen) < 0 {
		return refuse("stale-fence", 409, fmt.Sprintf("fence %s of %s is older than %s", fence, resource, seen))
	}
	f[resource] = mine
	return nil
}
