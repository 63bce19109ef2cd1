package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// alpha is the configuration of the first of three SFUs, with a state directory of its own.
func alpha(t *testing.T) *config.Config {
	t.Helper()
	at := netip.MustParseAddrPort
	m, err := genesis.Create(genesis.Spec{Name: "shop", Carrier: config.UDP, SFUs: []genesis.SFU{
		{Name: "alpha", Gateways: []string{"pc1.example:7400"}, UDPA: at("192.168.7.1:7401")},
		{Name: "bravo", Gateways: []string{"pc2.example:7400"}, UDPA: at("192.168.7.2:7401")},
		{Name: "carol", Gateways: []string{"pc3.example:7400"}, UDPA: at("192.168.7.3:7401")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &config.Config{Cluster: m.Cluster, Self: &m.Cluster.SFUs[0], Machine: &config.Machine{Name: "alpha"}, SFU: &config.SFU{StateDir: t.TempDir()}}
}

func TestStartRoster(t *testing.T) {
	for name, tt := range map[string]struct {
		kept  func(c *config.Cluster) // what the state directory has; nil: nothing
		taken bool
		want  string
	}{
		"none":              {nil, false, ""},
		"older":             {func(c *config.Cluster) { c.Roster, c.SFUs = 2, c.SFUs[:2] }, false, ""},
		"newer":             {func(c *config.Cluster) { c.Roster, c.SFUs = 4, c.SFUs[:2] }, true, ""},
		"removed":           {func(c *config.Cluster) { c.Roster, c.SFUs = 4, c.SFUs[1:] }, false, "SFU alpha, number 1, is not in the cluster by roster 4"},
		"of a higher epoch": {func(c *config.Cluster) { c.Epoch, c.Roster, c.SFUs = 2, 1, c.SFUs[:2] }, true, ""},
		"overruled": {func(c *config.Cluster) {
			c.Epoch, c.Roster = 2, 1
			c.SFUs[0].Overruled = true
		}, false, "SFU alpha, number 1: it was overruled by a forced recovery; it takes no part any more; bring it back under a new identity: `rrts sfu replace alpha`"},
		"another number": {func(c *config.Cluster) {
			c.Roster = 2
			c.SFUs[0].Number = 1
			c.SFUs[0].Name = "delta"
			c.SFUs[1].Name = "alpha"
		}, false, "move the old state away"},
		"another key": {func(c *config.Cluster) { c.Roster = 4; c.SFUs[0].PublicKey[0]++ }, false, "another public key"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := alpha(t)
			cfg.Cluster.Roster = 3
			if tt.kept != nil {
				kept := *cfg.Cluster
				kept.SFUs = append([]config.Member(nil), kept.SFUs...)
				tt.kept(&kept)
				if err := os.WriteFile(filepath.Join(cfg.SFU.StateDir, config.RosterFile), kept.MarshalRoster(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c, err := startRoster(cfg)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || (c != cfg.Cluster) != tt.taken {
				t.Fatalf("took that of the state directory: %v, want %v (%v)", c != cfg.Cluster, tt.taken, err)
			}
		})
	}
}

// TestKeeperOverruled: a roster of a higher epoch goes before one of a higher version; what
// is announced in an older epoch counts for nothing; and one that overrules this SFU ends
// it, with what is needed to say so later.
func TestKeeperOverruled(t *testing.T) {
	cfg := alpha(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		k := newKeeper(cfg, slog.New(slog.DiscardHandler), func() time.Duration { return time.Since(began) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { k.run(ctx); close(done) }()
		forced := func(version uint64, epoch uint32, overruled ...string) *txnpb.Roster {
			r := members.Roster(cfg.Cluster)
			r.Version, r.Force = version, &txnpb.Force{Epoch: epoch, By: 3, Csn: 70}
			for i := range r.Members {
				r.Members[i].Overruled = slices.Contains(overruled, r.Members[i].Name)
			}
			return r
		}
		before := members.Roster(cfg.Cluster)
		before.Version = 9
		k.announced(2, 1, before)
		k.announced(2, 2, forced(7, 2, "bravo"))
		before.Version = 10
		k.announced(2, 1, before)
		synctest.Wait()
		c, err := cfg.Cluster.StateRoster(cfg.SFU.StateDir)
		if err != nil || c == nil {
			t.Fatal(c, err)
		}
		if c.Epoch != 2 || c.Roster != 7 || !c.SFUs[1].Overruled {
			t.Fatalf("%+v, %v", c, err)
		}
		if k.epoch() != 2 || !slices.Equal(k.gateways(), []string{"pc1.example:7400", "pc3.example:7400"}) {
			t.Errorf("epoch %d, gateways %q", k.epoch(), k.gateways())
		}
		if p := k.fabricPeers(); len(p) != 2 {
			t.Errorf("%d peers: who was overruled has to be reached to hear it", len(p))
		}
		k.announced(2, 3, forced(8, 3, "alpha"))
		err = <-k.removed
		if !errors.Is(err, errOverruled) || !strings.Contains(err.Error(), "SFU alpha was overruled: SFU carol went on without it, in epoch 3 from CSN 70 on") {
			t.Error(err)
		}
		if _, err := startRoster(cfg); !errors.Is(err, errOverruled) {
			t.Errorf("it starts again: %v", err)
		}
		data, err := os.ReadFile(filepath.Join(cfg.SFU.StateDir, forcedFile))
		if r := (&txnpb.Roster{}); err != nil || r.Parse(data) != nil || r.Force.Epoch != 3 {
			t.Errorf("kept %x, %v", data, err)
		}
		<-done
		cancel()
	})
}

// TestInquiry: who hears nobody asks gateways, and believes only what is newer than
// what it knows.
func TestInquiry(t *testing.T) {
	type reply = gatewaypb.HelloReply
	for name, tt := range map[string]struct {
		bravo, carol *reply // nil: no answer
		want         string
	}{
		"nobody answers":     {nil, nil, ""},
		"it is in":           {&reply{Sfus: []uint32{1, 2, 3}, Roster: 4}, nil, ""},
		"a list from before": {&reply{Sfus: []uint32{2, 3}, Roster: 3}, nil, ""},
		"it is out":          {nil, &reply{Sfus: []uint32{2, 3}, Roster: 4}, "SFU alpha, number 1, is not in the cluster by roster 4"},
		"restored":           {&reply{ClusterId: make([]byte, 16), Cluster: "shop"}, nil, "pc2.example:7400 is of another cluster now"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := alpha(t)
			cfg.Cluster.Roster = 3
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				k := newKeeper(cfg, slog.New(slog.DiscardHandler), func() time.Duration { return time.Since(began) })
				asked := map[string]int{}
				k.greet = func(_ context.Context, address string) (*reply, error) {
					asked[address]++
					r := map[string]*reply{"pc2.example:7400": tt.bravo, "pc3.example:7400": tt.carol}[address]
					if r == nil {
						return nil, errors.New("no answer")
					}
					if r.ClusterId == nil {
						r.ClusterId = cfg.Cluster.ID[:]
					}
					return r, nil
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { k.inquire(ctx); close(done) }()
				time.Sleep(unheard - time.Second/2)
				if len(asked) > 0 {
					t.Error("it asked at once")
				}
				time.Sleep(2 * inquiryInterval)
				if asked["pc1.example:7400"] > 0 {
					t.Error("it asked itself")
				}
				if tt.want == "" {
					if asked["pc2.example:7400"] < 2 || asked["pc3.example:7400"] < 2 || len(k.removed) > 0 {
						t.Errorf("asked %v, and was told that it is out: %v", asked, len(k.removed) > 0)
					}
					cancel()
					<-done
					return
				}
				<-done
				if err := <-k.removed; !errors.Is(err, errRemoved) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				cancel()
			})
		})
	}
}

// TestKeeper: what it hears it keeps, whom the roster does not list it reaches a
// moment longer, and only another SFU can tell this one that it is out.
func TestKeeper(t *testing.T) {
	cfg := alpha(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		k := newKeeper(cfg, slog.New(slog.DiscardHandler), func() time.Duration { return time.Since(began) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { k.run(ctx); close(done) }()
		kept := func() *config.Cluster {
			t.Helper()
			synctest.Wait()
			c, err := cfg.Cluster.StateRoster(cfg.SFU.StateDir)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		roster := func(version uint64, without string) *txnpb.Roster {
			r := members.Roster(cfg.Cluster)
			r.Version = version
			var left []txnpb.Member
			for _, m := range r.Members {
				if m.Name != without {
					left = append(left, m)
				}
			}
			r.Members = left
			return r
		}
		leaving := roster(1, "")
		leaving.Members[1].Leaving = true
		k.offer(leaving)
		if c := kept(); c != nil {
			t.Fatal("kept a roster in which somebody is leaving")
		}
		k.announced(2, 1, roster(2, "bravo")) // whose vote this one's replica counts on
		kept()
		time.Sleep(2 * (farewell + rosterRetry))
		if p := k.fabricPeers(); len(p) != 2 {
			t.Errorf("%d peers, while its own replica has not applied that one has left", len(p))
		}
		k.offer(roster(2, "bravo"))
		if c := kept(); c == nil || c.Roster != 2 || len(c.SFUs) != 2 {
			t.Fatalf("kept %+v", c)
		}
		time.Sleep(farewell + rosterRetry)
		if p := k.fabricPeers(); len(p) != 1 || p[0].SFU != 3 {
			t.Errorf("peers %+v after the farewell", p)
		}
		k.offer(roster(1, "carol"))
		if c := kept(); c.Roster != 2 {
			t.Error("an older roster replaced a newer one")
		}
		k.offer(roster(3, "alpha")) // its own replica says so
		if c := kept(); c.Roster != 2 || len(k.removed) > 0 {
			t.Error("it believes by itself that it is out")
		}
		k.announced(3, 1, roster(3, "alpha"))
		if c := kept(); c.Roster != 3 {
			t.Error("that it is out is not kept")
		}
		select {
		case err := <-k.removed:
			if !errors.Is(err, errRemoved) {
				t.Error(err)
			}
		default:
			t.Error("it was not told that it is out")
		}
		<-done
		cancel()
	})
}
