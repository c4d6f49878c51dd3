/** Fairlead's client: see README.md, and PROTOCOL.md for what it speaks. */
export { connect, type Client, type ConnectOptions } from './client.ts';
export type { Channel, History, HistoryOptions, PublishOptions } from './channel.ts';
export { FairleadError } from './error.ts';
export type { Gap, Message, Start, Transport } from './frame.ts';
export type { Diagnostics } from './diagnostics.ts';
export type { OfflineEvent, State, StateEvent, SwitchEvent, TransportEvent } from './link.ts';
export type { Share } from './share.ts';
export type { KeyValue } from './storage.ts';
export type { Events } from './session.ts';
export type { SubscribeOptions, Subscription } from './subscription.ts';
export type { TokenSource } from './token.ts';
