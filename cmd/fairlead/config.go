package main

import "time"

// config is every setting of a gateway. The tag key is the setting's name in
// the YAML file; its flag has dashes in place of dots and underscores, and its
// variable is FAIRLEAD_ and the flag in upper case with underscores. What a
// value may be stands in min, max, oneof and form.
type config struct {
	Listen string `key:"listen" default:"127.0.0.1:8080" type:"setting" form:"address" placeholder:"HOST:PORT" help:"Where to serve HTTP. Port 0 takes any free one."`
	Data   string `key:"data" default:"./fairlead-data" type:"setting" form:"path" placeholder:"DIR" help:"The directory of the log."`
	NATS   string `key:"nats" name:"nats" default:"" type:"setting" form:"nats" placeholder:"URL" help:"Keep the log in this NATS, which needs JetStream, and not in --data."`

	TrustedProxy    networks `key:"trusted_proxy" default:"" type:"setting" placeholder:"NETWORK" help:"A proxy, or a network of them, that is believed when it tells whom a request comes from. May be given several times."`
	ForwardedHeader string   `key:"forwarded_header" default:"x-forwarded-for" type:"setting" oneof:"x-forwarded-for,forwarded" placeholder:"HEADER" help:"Where the trusted proxies tell it: x-forwarded-for, or forwarded, which is RFC 7239. The other one is not looked at, because proxies let through what a client wrote there."`
	ProxyProtocol   bool     `key:"proxy_protocol" default:"false" type:"setting" help:"Connections of trusted proxies begin with a header of the PROXY protocol, version 1 or 2, and are refused without."`

	Auth     authConfig `embed:"" prefix:"auth-"`
	Origins  list       `key:"origins" default:"" type:"setting" form:"origin" placeholder:"ORIGIN" help:"Web pages that may use the gateway beside those of its own origin, such as https://app.example.com, https://*.example.com or *. May be given several times, as all lists."`
	Insecure bool       `key:"insecure" default:"false" type:"setting" help:"Serve beyond this machine though no key is configured, so that everybody may do everything: for what stands behind something that authenticates."`

	TLS  tlsConfig  `embed:"" prefix:"tls-"`
	ACME acmeConfig `embed:"" prefix:"acme-"`

	Stream streamConfig `embed:"" prefix:"stream-"`

	TailBytes   size          `key:"tail_bytes" default:"32MiB" type:"setting" min:"64KiB" max:"1TiB" placeholder:"SIZE" help:"Memory for the newest part of the log."`
	CatchUps    int           `key:"catch_ups" default:"4" type:"setting" min:"1" max:"256" placeholder:"N" help:"Reads of the log at a time, for clients that are further behind."`
	DiskReserve size          `key:"disk_reserve" default:"64MiB" type:"setting" min:"1B" max:"1TiB" placeholder:"SIZE" help:"Publishing stops when the disk of --data has less left than this."`
	Beat        time.Duration `key:"beat" default:"15s" type:"setting" min:"1s" max:"10m" placeholder:"DURATION" help:"The longest silence on an attachment."`
	Drain       time.Duration `key:"drain" default:"5s" type:"setting" min:"1ms" max:"1h" placeholder:"DURATION" help:"The time over which clients are sent away before the process ends."`

	Limits limitsConfig `embed:"" prefix:"limits-"`
	Log    logConfig    `embed:"" prefix:"log-"`
}

// authConfig is who may do what. Without all of its keys and grants a gateway is open.
type authConfig struct {
	Secret      secret          `key:"auth.secret" default:"" type:"setting" placeholder:"TEXT" help:"A secret of 32 bytes or more with which tokens are signed by HS256. Others on the machine can see a flag: use the variable, or auth.secret_file."`
	SecretFile  string          `key:"auth.secret_file" default:"" type:"setting" form:"file" placeholder:"FILE" help:"A file that holds such a secret. It counts beside auth.secret."`
	Keys        list            `key:"auth.keys" default:"" type:"setting" form:"file" placeholder:"FILE" help:"Files of keys that tokens are signed with by RS256, ES256 or EdDSA: PEM (public is enough, and all keys of a file count), a JWK or a set of them."`
	JWKS        string          `key:"auth.jwks" default:"" type:"setting" form:"jwks" placeholder:"URL" help:"Where such a set is fetched, again and again. It needs auth.issuer or auth.audience."`
	Issuer      string          `key:"auth.issuer" default:"" type:"setting" form:"text" placeholder:"NAME" help:"What a token's iss must be."`
	Audience    list            `key:"auth.audience" default:"" type:"setting" form:"text" placeholder:"NAME" help:"One of these a token's aud must name. Without any, tokens that have an aud are refused."`
	Skew        time.Duration   `key:"auth.skew" default:"30s" type:"setting" min:"0s" max:"10m" placeholder:"DURATION" help:"How far the clocks of those who make tokens may differ."`
	MaxLifetime time.Duration   `key:"auth.max_lifetime" default:"720h" type:"setting" min:"1s" max:"87600h" placeholder:"DURATION" help:"How long a token may be good for."`
	Grace       time.Duration   `key:"auth.grace" default:"10s" type:"setting" min:"1ms" max:"10m" placeholder:"DURATION" help:"How long an attachment goes on after its token has expired."`
	APIKeys     string          `key:"auth.api_keys" default:"" type:"setting" form:"file" placeholder:"FILE" help:"A YAML file of the API keys of origins, as fairlead api-key makes them."`
	Anonymous   anonymousConfig `embed:"" prefix:"anonymous-"`
}

// anonymousConfig is what who shows nothing may do.
type anonymousConfig struct {
	Subscribe list `key:"auth.anonymous.subscribe" default:"" type:"setting" form:"pattern" placeholder:"PATTERN" help:"Channels that anybody may read."`
	Publish   list `key:"auth.anonymous.publish" default:"" type:"setting" form:"pattern" placeholder:"PATTERN" help:"Channels that anybody may publish to."`
	Presence  list `key:"auth.anonymous.presence" default:"" type:"setting" form:"pattern" placeholder:"PATTERN" help:"Channels whose presence anybody may see."`
}

type streamConfig struct {
	Name     string        `key:"stream.name" default:"FAIRLEAD" type:"setting" form:"stream" placeholder:"NAME" help:"The JetStream stream that is the log."`
	Prefix   string        `key:"stream.prefix" default:"ch" type:"setting" form:"prefix" placeholder:"SUBJECT" help:"The subject before the channels' names."`
	MaxAge   time.Duration `key:"stream.max_age" default:"24h" type:"setting" min:"1s" max:"87600h" placeholder:"DURATION" help:"How long messages are kept."`
	MaxBytes size          `key:"stream.max_bytes" default:"1GiB" type:"setting" min:"64KiB" max:"8192TiB" placeholder:"SIZE" help:"How large the log may grow; the oldest messages go first."`
	Dedupe   time.Duration `key:"stream.dedupe" default:"2m" type:"setting" min:"100ms" max:"24h" placeholder:"DURATION" help:"How long a message's key is remembered."`
	Replicas int           `key:"stream.replicas" default:"1" type:"setting" min:"1" max:"5" placeholder:"N" help:"Copies of the log in the cluster of --nats."`
	Sync     string        `key:"stream.sync" default:"interval" type:"setting" oneof:"interval,always" placeholder:"WHEN" help:"When the log is flushed to the disk: at an interval, or always before a message is acknowledged, which also survives a power cut."`
}

type limitsConfig struct {
	Frame      size          `key:"limits.frame" default:"256KiB" type:"setting" min:"1KiB" max:"31MiB" placeholder:"SIZE" help:"Bytes of one frame or message."`
	Batch      size          `key:"limits.batch" default:"8MiB" type:"setting" min:"1KiB" max:"1GiB" placeholder:"SIZE" help:"Bytes of a request that holds several messages."`
	Channels   int           `key:"limits.channels" default:"1000" type:"setting" min:"1" max:"1000" placeholder:"N" help:"Subscriptions of one attachment."`
	History    int           `key:"limits.history" default:"1000" type:"setting" min:"1" max:"10000" placeholder:"N" help:"Messages of one page of history."`
	Wait       time.Duration `key:"limits.wait" default:"55s" type:"setting" min:"1s" max:"10m" placeholder:"DURATION" help:"The longest wait of a poll."`
	BodyStall  time.Duration `key:"limits.body_stall" default:"30s" type:"setting" min:"100ms" max:"1h" placeholder:"DURATION" help:"How long a request's body may stop arriving."`
	WriteStall time.Duration `key:"limits.write_stall" default:"2m" type:"setting" min:"100ms" max:"1h" placeholder:"DURATION" help:"How long a client may take nothing of what it is sent."`

	Header     size          `key:"limits.header" default:"32KiB" type:"setting" min:"4KiB" max:"1MiB" placeholder:"SIZE" help:"Bytes of a request's header."`
	HeaderWait time.Duration `key:"limits.header_wait" default:"10s" type:"setting" min:"100ms" max:"1h" placeholder:"DURATION" help:"How long a request's header may take to arrive."`
	Idle       time.Duration `key:"limits.idle" default:"2m" type:"setting" min:"100ms" max:"1h" placeholder:"DURATION" help:"How long a connection may wait for its next request."`

	Connections            int  `key:"limits.connections" default:"0" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Connections at a time. Further ones are closed at once. 0 for as many as the process may open files, less a tenth."`
	ConnectionsPerIP       int  `key:"limits.connections_per_ip" default:"0" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Of those, how many from one address, other than this machine's and those of trusted proxies. 0 for a quarter."`
	RequestsPerIP          int  `key:"limits.requests_per_ip" default:"12000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Requests at a time from one address, until their answers are taken: of clients that are attached too, unless by WebSocket. 0 for no limit. Not of this machine, nor of a trusted proxy that names nobody."`
	Fanout                 size `key:"limits.fanout" default:"32MiB" type:"setting" min:"1KiB" max:"1TiB" placeholder:"SIZE" help:"Bytes that a message to many channels may take in the log."`
	Attachments            int  `key:"limits.attachments" default:"100000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Clients at a time, half of them before it is known who they are; 0 for no limit, here and below."`
	AttachmentsPerIP       int  `key:"limits.attachments_per_ip" default:"10000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Clients at a time from one address. Limits by address do not apply to this machine, nor to a trusted proxy that names nobody."`
	AttachmentsPerSub      int  `key:"limits.attachments_per_sub" default:"1000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Clients at a time with one token's sub."`
	Attaches               int  `key:"limits.attaches" default:"5000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Clients that may come in a second."`
	AttachesPerIP          int  `key:"limits.attaches_per_ip" default:"500" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Clients that may come in a second from one address, of which two seconds' worth may have yet to say who they are."`
	GuessesPerIP           int  `key:"limits.guesses_per_ip" default:"100" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Tokens, keys and tickets that are no good, in a second, from one address."`
	Commands               int  `key:"limits.commands" default:"1000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Commands, and polls, of one session in a second."`
	CommandsPerIP          int  `key:"limits.commands_per_ip" default:"20000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Commands, and messages published, from one address in a second."`
	Tickets                int  `key:"limits.tickets" default:"20" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Tickets for one token's sub or one API key, or else one address, in a second; one with many rights counts as several."`
	Publishes              int  `key:"limits.publishes" default:"10000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Messages to one channel in a second."`
	PublishBytes           size `key:"limits.publish_bytes" default:"64MiB" type:"setting" min:"0" max:"1TiB" placeholder:"SIZE" help:"Bytes to one channel in a second."`
	PublishesPerSub        int  `key:"limits.publishes_per_sub" default:"1000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Messages of one token's sub in a second, or of one address where there is no sub."`
	PublishBytesPerSub     size `key:"limits.publish_bytes_per_sub" default:"8MiB" type:"setting" min:"0" max:"1TiB" placeholder:"SIZE" help:"Bytes of one token's sub in a second."`
	CatchUpsPerClient      int  `key:"limits.catch_ups_per_client" default:"2" type:"setting" min:"0" max:"256" placeholder:"N" help:"Of the reads of catch_ups, how many at a time for one client."`
	PatternsPerClient      int  `key:"limits.patterns_per_client" default:"1000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Different patterns that the clients with one token's sub follow, or those of one address where there is no sub. API keys may follow any number."`
	SubscriptionsPerClient int  `key:"limits.subscriptions_per_client" default:"100000" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Channels and patterns that the clients with one token's sub or one API key follow, or else those of one address."`
	ReadsPerIP             int  `key:"limits.reads_per_ip" default:"24" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Pages of history read at a time for one address."`
	Bodies                 size `key:"limits.bodies" default:"256MiB" type:"setting" min:"0" max:"1TiB" placeholder:"SIZE" help:"Memory for the bodies and messages that are still coming, of all clients; one address may have a quarter, and those together half of whom it is not known who they are."`
	UploadsPerClient       int  `key:"limits.uploads_per_client" default:"100" type:"setting" min:"0" max:"100000000" placeholder:"N" help:"Streams of messages that one token's sub sends at a time, or one address of who has none. API keys may send any number."`
	Pending                size `key:"limits.pending" default:"256MiB" type:"setting" min:"0" max:"1TiB" placeholder:"SIZE" help:"Memory for what waits to be sent, for all clients; one sub may have an eighth, or else one address, and an API key a half. Whoever has used that up asks for nothing new, and is cut off if it takes nothing for 5s; so are all when all of it is used up."`
}

type logConfig struct {
	Level  string `key:"log.level" default:"info" type:"setting" oneof:"debug,info,warn,error" placeholder:"LEVEL" help:"What is logged to stderr: debug, info, warn or error."`
	Format string `key:"log.format" default:"text" type:"setting" oneof:"text,json" placeholder:"FORMAT" help:"How it is logged: text or json."`
}
