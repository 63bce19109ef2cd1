package timer

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTimer: both kinds fire after the last Arm and not by an earlier one, also when armed
// before Run, from within fire, and for no time at all; Close ends Run.
func TestTimer(t *testing.T) {
	k, err := Kernel()
	if err != nil {
		t.Fatal(err)
	}
	const leave = -1
	for name, timer := range map[string]Timer{"runtime": Runtime(), "kernel": k} {
		fired, then, ended := make(chan time.Time), make(chan time.Duration), make(chan struct{})
		timer.Arm(0) // before anybody waits
		go func() {
			defer close(ended)
			timer.Run(func() {
				fired <- time.Now()
				if d := <-then; d != leave {
					timer.Arm(d)
				}
			})
		}()
		<-fired
		then <- leave
		began := time.Now()
		timer.Arm(time.Hour)
		timer.Arm(5 * time.Millisecond)
		if took := (<-fired).Sub(began); took < 5*time.Millisecond {
			t.Errorf("%s: fired after %v", name, took)
		}
		for range 100 { // within fire, also while it fires
			then <- 0
			<-fired
		}
		then <- leave
		timer.Arm(time.Millisecond)
		timer.Arm(time.Hour)
		select {
		case <-fired:
			t.Errorf("%s: fired by an Arm that does not hold any more", name)
			then <- leave
		case <-time.After(20 * time.Millisecond):
		}
		if err := timer.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		timer.Arm(time.Hour)
		<-ended
	}
}

// TestNext: loops that began at any time look at the same moments, each once in its time.
func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		for range 1000 {
			for _, d := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second} {
				wait := Next(d)
				if wait < d/2 || wait > d+d/2 {
					t.Fatalf("%v to the next of each %v", wait, d)
				}
				if at := time.Since(begin) + wait; at%d != 0 {
					t.Fatalf("at %v for each %v", at, d)
				}
			}
			time.Sleep(1234567 * time.Nanosecond)
		}
	})
}
