// Package otlp makes pdata out of what the lower rooms know: Metrics of the connection table, of the
// kernel's counts and of calls; Logs of packet events and failed connects; Spans of calls. All pdata of
// the receiver is made here.
//
// One Resource stands for one owner. The table Instruments says what each metric is; nothing else does.
// Builders accumulate and hand over on Collect or Take; none is safe for concurrent use.
package otlp
