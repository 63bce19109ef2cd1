package main

import "testing"

func TestBringUp(t *testing.T) { scripts(t, "testdata/bringup") }
