package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// batch is one export request: one of the three signals, and the time of its newest part; or the collector's own metrics.
type batch struct {
	at      time.Time
	metrics *pmetric.Metrics
	logs    *plog.Logs
	traces  *ptrace.Traces
	own     *pmetric.Metrics
}

// ownMetricsPath is where the collector sends its own metrics.
const ownMetricsPath = "/own/v1/metrics"

// maxRequest is far above what the demo's collector sends at once.
const maxRequest = 64 << 20

// backend is the smallest thing that an OTLP/HTTP exporter can send to.
type backend struct {
	url     string
	batches chan batch
	server  *http.Server
	busy    sync.WaitGroup
}

func listen() (*backend, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the collector's data: %w", err)
	}
	b := &backend{url: "http://" + listener.Addr().String(), batches: make(chan batch, 256)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/metrics", b.handle(func(body []byte) (batch, error) {
		request := pmetricotlp.NewExportRequest()
		err := request.UnmarshalProto(body)
		metrics := request.Metrics()
		return batch{at: newestMetric(metrics), metrics: &metrics}, err
	}))
	mux.HandleFunc("POST /v1/logs", b.handle(func(body []byte) (batch, error) {
		request := plogotlp.NewExportRequest()
		err := request.UnmarshalProto(body)
		logs := request.Logs()
		return batch{at: newestLog(logs), logs: &logs}, err
	}))
	mux.HandleFunc("POST /v1/traces", b.handle(func(body []byte) (batch, error) {
		request := ptraceotlp.NewExportRequest()
		err := request.UnmarshalProto(body)
		traces := request.Traces()
		return batch{at: newestSpan(traces), traces: &traces}, err
	}))
	mux.HandleFunc("POST "+ownMetricsPath, b.handle(func(body []byte) (batch, error) {
		request := pmetricotlp.NewExportRequest()
		err := request.UnmarshalProto(body)
		metrics := request.Metrics()
		return batch{own: &metrics}, err
	}))
	b.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go b.server.Serve(listener)
	return b, nil
}

func (b *backend) handle(decode func([]byte) (batch, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b.busy.Add(1)
		defer b.busy.Done()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		decoded, err := decode(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case b.batches <- decoded:
		case <-r.Context().Done():
			return
		}
		// An empty body is the encoding of an Export…ServiceResponse that refuses nothing.
		w.Header().Set("Content-Type", "application/x-protobuf")
	}
}

// close ends the server once all that was sent is in batches, and closes these.
func (b *backend) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = b.server.Shutdown(ctx)
	_ = b.server.Close()
	b.busy.Wait()
	close(b.batches)
}

func newestMetric(metrics pmetric.Metrics) time.Time {
	var newest pcommon.Timestamp
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				if metric.Type() == pmetric.MetricTypeSum && metric.Sum().DataPoints().Len() > 0 {
					newest = max(newest, metric.Sum().DataPoints().At(0).Timestamp())
				}
			}
		}
	}
	return newest.AsTime()
}

func newestLog(logs plog.Logs) time.Time {
	var newest pcommon.Timestamp
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				newest = max(newest, record.Timestamp())
			}
		}
	}
	return newest.AsTime()
}

func newestSpan(traces ptrace.Traces) time.Time {
	var newest pcommon.Timestamp
	for _, resource := range traces.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				newest = max(newest, span.EndTimestamp())
			}
		}
	}
	return newest.AsTime()
}
