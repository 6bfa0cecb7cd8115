// Two atoms of an account, served by a worker in Go. What opsloop asks of a worker stands in atom.go; this file is the
// work itself. Run it with TEMPORAL_ADDRESS=127.0.0.1:7400 go run .
package main

import (
	"context"
	"log"
	"os"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

const queue = "sample-go"

type creditInput struct {
	Account string `json:"account"`
	Amount  int    `json:"amount"`
	// How long the work takes: for those who want to watch it, or cancel it.
	Seconds int `json:"seconds"`
}

type creditOutput struct {
	Balance int  `json:"balance"`
	DryRun  bool `json:"dryRun,omitempty"`
}

type readOutput struct {
	Balance int `json:"balance"`
	// Effects says how often the account was changed.
	Effects int `json:"effects"`
}

type account struct {
	balance, effects int
}

// bank keeps accounts in memory, and with them what was done under which key. Where the work is kept, the keys belong
// too, in the same transaction: a key that is lost with the process cannot protect anything.
type bank struct {
	mu       sync.Mutex
	accounts map[string]account
	done     map[string]creditOutput
	fences   fences
}

// credit adds to an account: once per key, never for a holder whose lock has passed to somebody else.
func (b *bank) credit(ctx context.Context, call Call[creditInput]) (creditOutput, error) {
	in := call.Input
	if in.Account == "" {
		return creditOutput{}, refuse("validation", 400, "account is missing")
	}
	if in.Amount <= 0 {
		return creditOutput{}, refuse("atom/go.account.credit/amount", 409, "only what is more than nothing can be credited")
	}
	if call.Context.DryRun {
		b.mu.Lock()
		defer b.mu.Unlock()
		return creditOutput{Balance: b.accounts[in.Account].balance + in.Amount, DryRun: true}, nil
	}
	if err := work(ctx, time.Duration(in.Seconds)*time.Second); err != nil {
		return creditOutput{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if out, again := b.done[call.Context.Key]; again {
		return out, nil
	}
	if err := b.fences.pass(in.Account, call.Context.Fence); err != nil {
		return creditOutput{}, err
	}
	a := b.accounts[in.Account]
	a.balance += in.Amount
	a.effects++
	b.accounts[in.Account] = a
	out := creditOutput{Balance: a.balance}
	b.done[call.Context.Key] = out
	return out, nil
}

func (b *bank) read(_ context.Context, call Call[creditInput]) (readOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[call.Input.Account]
	return readOutput{Balance: a.balance, Effects: a.effects}, nil
}

// work takes its time and says how far it is. The heartbeat is also how a cancel comes in: the context ends.
func work(ctx context.Context, takes time.Duration) error {
	const beat = 200 * time.Millisecond
	for spent := time.Duration(0); spent < takes; spent += beat {
		activity.RecordHeartbeat(ctx, Progress{Percent: int(100 * spent / takes), Message: "counting"})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(beat):
		}
	}
	return nil
}

func main() {
	c, err := client.Dial(client.Options{
		HostPort:  os.Getenv("TEMPORAL_ADDRESS"),
		Namespace: os.Getenv("TEMPORAL_NAMESPACE"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	w := worker.New(c, queue, worker.Options{
		// The default holds heartbeats back for up to 30 s, and with them progress and cancels.
		DefaultHeartbeatThrottleInterval: time.Second,
		MaxHeartbeatThrottleInterval:     time.Second,
		DisableWorkflowWorker:            true,
	})
	b := &bank{accounts: map[string]account{}, done: map[string]creditOutput{}, fences: fences{}}
	w.RegisterActivityWithOptions(b.credit, activity.RegisterOptions{Name: "go.account.credit"})
	w.RegisterActivityWithOptions(b.read, activity.RegisterOptions{Name: "go.account.read"})
	if err := w.Run(worker.InterruptCh()); err != nil {
		log.Fatal(err)
	}
}
