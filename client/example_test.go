package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"lock_gulmd/client"
)

// A node takes a lock, works under it as long as it is good, and gives it back.
// A program that ends without Logout is fenced, so nothing here calls log.Fatal
// once the node is logged in.
func Example() {
	work := func(ctx context.Context, node *client.Node) error {
		space, err := node.Join(ctx, "alpha:gfs01", client.JoinOptions{})
		if err != nil {
			return err
		}
		lock, err := space.Lock(ctx, "inode 4711", client.EX)
		if err != nil {
			return err
		}
		defer lock.Unlock()
		for block := range 100 {
			if err := lock.Valid(); err != nil { // right before every write
				return err
			}
			fmt.Println("write block", block, "with token", lock.Token())
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := client.Dial(ctx, client.Config{
		Cluster: "alpha", Node: "n1", Servers: []string{"127.0.0.1:40040", "127.0.0.2:40040", "127.0.0.3:40040"},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = work(ctx, node)
	if err := errors.Join(err, node.Logout(context.Background())); err != nil {
		log.Fatal(err)
	}
}

// A holder gives way when somebody else waits, and stops when its locks are in
// doubt.
func ExampleLock_Blocking() {
	work := func(ctx context.Context, lock *client.Lock) error {
		alive := lock.Context() // ends when the locks are in doubt
		select {
		case wanted := <-lock.Blocking():
			if wanted == client.PR {
				return lock.Convert(ctx, client.PR) // readers may come in
			}
			return lock.Unlock()
		case <-alive.Done():
			return context.Cause(alive) // client.ErrLost: touch nothing
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_ = work
}

// The events of a node, for whoever watches over it.
func ExampleNode_Events() {
	watch := func(node *client.Node) {
		for e := range node.Events() {
			switch e.Kind {
			case client.EventJeopardy:
				log.Print("start nothing new")
			case client.EventLost:
				log.Print("stop all writes")
			case client.EventSafe:
				log.Print("go on")
			case client.EventExpired:
				log.Print("log in again: ", e.Err)
			}
		}
	}
	_ = watch
}
