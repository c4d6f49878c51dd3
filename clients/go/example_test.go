package fairlead_test

import (
	"context"
	"fmt"
	"log"

	fairlead "github.com/fairlead/fairlead/clients/go"
	"github.com/fairlead/fairlead/protocol"
)

// Follow a channel from its last ten messages on, and say something there.
func Example() {
	ctx := context.Background()
	client, err := fairlead.New("http://127.0.0.1:8080", fairlead.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	sub, err := client.Subscribe(ctx, map[string]protocol.Start{"chat.42": {Last: 10}})
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()
	if _, err := client.Publish(ctx, "chat.42", fairlead.Text("hello")); err != nil {
		log.Fatal(err)
	}
	for {
		event, err := sub.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		switch e := event.(type) {
		case *fairlead.Message:
			fmt.Println(e.ID, e.Channel, string(e.Data))
		case *fairlead.Gap:
			fmt.Println("missed what came before", e.To)
		}
	}
}
