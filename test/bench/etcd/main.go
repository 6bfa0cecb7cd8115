// etcd's lock, for comparison: an embedded server with its default durability, and its own client's mutex.
// Usage: etcd-bench <seconds> <data dir>; prints one line of JSON per case.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	seconds, _ := strconv.Atoi(os.Args[1])
	config := embed.NewConfig()
	config.Dir = os.Args[2]
	config.LogLevel = "error"
	local := func(port string) []url.URL { return []url.URL{{Scheme: "http", Host: "127.0.0.1:" + port}} }
	config.ListenClientUrls, config.AdvertiseClientUrls = local("0"), local("0")
	config.ListenPeerUrls, config.AdvertisePeerUrls = local("0"), local("0")
	config.InitialCluster = config.Name + "=" + config.AdvertisePeerUrls[0].String()
	server, err := embed.StartEtcd(config)
	fail(err)
	defer func() {
		// It logs the end of its listeners as errors.
		os.Stderr.Close()
		server.Close()
	}()
	<-server.Server.ReadyNotify()
	endpoint := server.Clients[0].Addr().String()
	for _, c := range []struct {
		clients int
		hot     bool
	}{{8, false}, {1, false}, {8, false}, {64, false}, {8, true}} {
		run(endpoint, c.clients, c.hot, time.Duration(seconds)*time.Second)
	}
}

func run(endpoint string, clients int, hot bool, length time.Duration) {
	var mu sync.Mutex
	var times []float64
	var wg sync.WaitGroup
	ctx := context.Background()
	until := time.Now().Add(length)
	for n := 0; n < clients; n++ {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
		fail(err)
		session, err := concurrency.NewSession(client, concurrency.WithTTL(60))
		fail(err)
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			defer client.Close()
			defer session.Close()
			var own []float64
			for i := 0; time.Now().Before(until); i++ {
				key := "/bench/hot"
				if !hot {
					key = fmt.Sprintf("/bench/c%d/i%d", n, i%50)
				}
				began := time.Now()
				lock := concurrency.NewMutex(session, key)
				fail(lock.Lock(ctx))
				fail(lock.Unlock(ctx))
				own = append(own, float64(time.Since(began).Microseconds())/1000)
			}
			mu.Lock()
			times = append(times, own...)
			mu.Unlock()
		}(n)
	}
	wg.Wait()
	sort.Float64s(times)
	at := func(q float64) float64 { return times[min(len(times)-1, int(q*float64(len(times))))] }
	fmt.Printf("{\"clients\":%d,\"hot\":%t,\"rate\":%.1f,\"p50\":%.2f,\"p99\":%.2f}\n",
		clients, hot, float64(len(times))/length.Seconds(), at(0.5), at(0.99))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
