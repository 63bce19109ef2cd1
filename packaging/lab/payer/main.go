// Command payer is the application on the lab's client machine: clients that pay one
// after the other through the Go SDK and remember what they were told.
//
//	payer --kit client-kit.toml --payments payments.csv --answers answers.jsonl
//
// Login name and password are the first two lines of its standard input; when that
// ends, each client finishes the payment that it is at, and payer ends. Once in a
// while it prints a line of JSON on standard output:
//
//	{"answered":1200,"committed":1200,"aborted":0,"failed":0,"waiting_ms":3}
//
// failed counts payments whose outcome was not known within --patience; the client
// then submits the same transaction again until it knows. waiting_ms is how long the
// one that has waited longest has waited so far.
//
// The exit status is 0 if the outcome of every payment is known.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/drill"
)

const (
	// openWithin is patience with a cluster that starts.
	openWithin = 60 * time.Second
	// sayInterval is how often the line with the figures comes.
	sayInterval = 100 * time.Millisecond
)

func main() {
	kit := flag.String("kit", "client-kit.toml", "the cluster's client kit")
	payments := flag.String("payments", "payments.csv", "what to pay, again and again")
	answers := flag.String("answers", "answers.jsonl", "where what clients are told is kept")
	clients := flag.Int("clients", 8, "clients at the same time")
	opened := flag.Bool("opened", false, "the accounts are open already")
	crowd := &drill.Crowd{Repeat: true}
	flag.DurationVar(&crowd.Pause, "pause", 10*time.Millisecond, "of a client between an answer and its next payment")
	flag.DurationVar(&crowd.Patience, "patience", 5*time.Second, "of a client with one payment before that counts as failed")
	flag.Parse()
	if err := run(crowd, *kit, *payments, *answers, *clients, *opened); err != nil {
		fmt.Fprintln(os.Stderr, "payer:", err)
		os.Exit(1)
	}
}

func run(crowd *drill.Crowd, kitPath, paymentsPath, answersPath string, clients int, opened bool) error {
	kit, err := client.ReadKit(kitPath)
	if err != nil {
		return err
	}
	if crowd.Payments, err = drill.ReadPayments(paymentsPath); err != nil {
		return err
	}
	f, err := os.OpenFile(answersPath, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	answers := drill.NewAnswerWriter(f)
	crowd.Keep = answers.Write
	in := bufio.NewReader(os.Stdin)
	cfg := kit.Config()
	for _, to := range []*string{&cfg.LoginName, &cfg.Password} {
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("standard input must begin with login name and password, one line each: %w", err)
		}
		*to = strings.TrimSuffix(line, "\n")
	}
	if err := login(crowd, cfg, clients); err != nil {
		return err
	}
	if !opened {
		if err := openAccounts(crowd, answers); err != nil {
			return err
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // ends with the input, whatever ends it
		crowd.Stop()
	}()
	return pay(crowd)
}

// login opens the clients, all of one user.
func login(crowd *drill.Crowd, cfg client.Config, clients int) error {
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	for range clients {
		c, err := client.Open(ctx, cfg)
		if err != nil {
			return err
		}
		crowd.Clients = append(crowd.Clients, c)
	}
	return nil
}

// openAccounts opens the accounts that the payments name.
func openAccounts(crowd *drill.Crowd, answers *drill.AnswerWriter) error {
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	begin := time.Now()
	told, err := drill.OpenAccounts(ctx, crowd.Clients[0], crowd.Payments)
	if err != nil {
		return err
	}
	for _, t := range told {
		if err := answers.Write(drill.Answer{Begin: begin, End: time.Now(), Told: t}); err != nil {
			return err
		}
	}
	return nil
}

// pay runs all clients until they are told to stop.
func pay(crowd *drill.Crowd) error {
	done := make(chan error, 1)
	go func() { done <- crowd.Run(context.Background()) }()
	tick := time.NewTicker(sayInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := say(crowd); err != nil {
				return err
			}
		case err := <-done:
			for _, c := range crowd.Clients {
				c.Close()
			}
			return errors.Join(err, say(crowd))
		}
	}
}

// say prints the figures.
func say(crowd *drill.Crowd) error {
	f := crowd.Figures()
	return json.NewEncoder(os.Stdout).Encode(map[string]int64{
		"answered": f.Answered, "committed": f.Committed, "aborted": f.Aborted, "failed": f.Failed, "waiting_ms": f.Waiting.Milliseconds(),
	})
}
