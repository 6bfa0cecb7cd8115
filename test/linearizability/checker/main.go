// Checks a history of the lock interface with Porcupine: JSON on stdin, one line of JSON on stdout.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

type claim struct {
	Path int  `json:"path"`
	X    bool `json:"x"`
}

type op struct {
	Client int     `json:"client"`
	Call   int64   `json:"call"`
	Return int64   `json:"return"`
	Op     string  `json:"op"`
	Holder int     `json:"holder"`
	Claims []claim `json:"claims"`
	Fence  int64   `json:"fence"`
	Result string  `json:"result"`
}

type history struct {
	Paths      []string `json:"paths"`
	Members    [][2]int `json:"members"`
	StrictBusy bool     `json:"strictBusy"`
	Ops        []op     `json:"ops"`
}

// A grant whose fence nobody was told has the fence -1.
type grant struct {
	holder int
	fence  int64
	claims []claim
}

// Immutable: every step makes a new one.
type state struct {
	grants []grant
	top    []int64
}

var overlap, covers [][]bool
var strictBusy bool

func relate(paths []string, members [][2]int) {
	under := func(p, q string) bool { return p == q || strings.HasPrefix(p, q+"/") }
	related := func(p, q string) bool { return under(p, q) || under(q, p) }
	// At, above or below a member on the one side, the group or what lies above it on the other.
	through := func(p, q string) bool {
		for _, m := range members {
			if related(p, paths[m[0]]) && under(paths[m[1]], q) {
				return true
			}
		}
		return false
	}
	for _, p := range paths {
		var o, c []bool
		for _, q := range paths {
			o = append(o, related(p, q) || through(p, q) || through(q, p))
			c = append(c, under(q, p))
		}
		overlap, covers = append(overlap, o), append(covers, c)
	}
}

func (s state) conflicts(claims []claim) bool {
	for _, g := range s.grants {
		for _, h := range g.claims {
			for _, c := range claims {
				if (h.X || c.X) && overlap[h.Path][c.Path] {
					return true
				}
			}
		}
	}
	return false
}

func (s state) of(holder int) int {
	for i, g := range s.grants {
		if g.holder == holder {
			return i
		}
	}
	return -1
}

func (s state) with(g grant) state {
	grants := append(append([]grant{}, s.grants...), g)
	top := append([]int64{}, s.top...)
	for _, c := range g.claims {
		if g.fence > top[c.Path] {
			top[c.Path] = g.fence
		}
	}
	return state{grants, top}
}

func (s state) without(i int) state {
	grants := append([]grant{}, s.grants[:i]...)
	return state{append(grants, s.grants[i+1:]...), s.top}
}

// Fences grow on every overlapping path.
func (s state) newest(claims []claim, fence int64) bool {
	for _, c := range claims {
		for p, top := range s.top {
			if overlap[c.Path][p] && top >= fence {
				return false
			}
		}
	}
	return true
}

func acquire(s state, o op) []interface{} {
	mine := s.of(o.Holder)
	switch o.Result {
	case "granted":
		if mine >= 0 {
			if s.grants[mine].fence == o.Fence {
				return []interface{}{s}
			}
			if s.grants[mine].fence == -1 {
				return []interface{}{s.without(mine).with(grant{o.Holder, o.Fence, o.Claims})}
			}
			return nil
		}
		if s.conflicts(o.Claims) || !s.newest(o.Claims, o.Fence) {
			return nil
		}
		return []interface{}{s.with(grant{o.Holder, o.Fence, o.Claims})}
	case "busy":
		if mine >= 0 || (strictBusy && !s.conflicts(o.Claims)) {
			return nil
		}
		return []interface{}{s}
	case "waiting":
		if mine >= 0 {
			return nil
		}
		return []interface{}{s}
	}
	if mine >= 0 || s.conflicts(o.Claims) {
		return []interface{}{s}
	}
	return []interface{}{s, s.with(grant{o.Holder, -1, o.Claims})}
}

func step(from, input, _ interface{}) []interface{} {
	s, o := from.(state), input.(op)
	if o.Op == "acquire" {
		return acquire(s, o)
	}
	held := -1
	for i, g := range s.grants {
		if g.fence == o.Fence {
			held = i
		}
	}
	if o.Op == "release" {
		if held < 0 {
			return []interface{}{s}
		}
		if o.Result == "unknown" {
			return []interface{}{s, s.without(held)}
		}
		return []interface{}{s.without(held)}
	}
	current := false
	if held >= 0 {
		for _, h := range s.grants[held].claims {
			current = current || covers[h.Path][o.Claims[0].Path]
		}
	}
	if o.Result == "unknown" || current == (o.Result == "current") {
		return []interface{}{s}
	}
	return nil
}

func equal(a, b interface{}) bool {
	s, t := a.(state), b.(state)
	if len(s.grants) != len(t.grants) {
		return false
	}
	for _, g := range s.grants {
		i := t.of(g.holder)
		if i < 0 || t.grants[i].fence != g.fence {
			return false
		}
	}
	for i := range s.top {
		if s.top[i] != t.top[i] {
			return false
		}
	}
	return true
}

func main() {
	var h history
	if err := json.NewDecoder(os.Stdin).Decode(&h); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	strictBusy = h.StrictBusy
	relate(h.Paths, h.Members)
	model := porcupine.NondeterministicModel{
		Init:  func() []interface{} { return []interface{}{state{nil, make([]int64, len(h.Paths))}} },
		Step:  step,
		Equal: equal,
	}
	ops := make([]porcupine.Operation, len(h.Ops))
	for i, o := range h.Ops {
		ops[i] = porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Output: o, Return: o.Return}
	}
	began := time.Now()
	// Illegal histories end in milliseconds, legal ones in seconds; three minutes mean that it cannot be told.
	result := porcupine.CheckOperationsTimeout(model.ToModel(), ops, 3*time.Minute)
	fmt.Printf("{\"result\":%q,\"ms\":%d}\n", result, time.Since(began).Milliseconds())
}
