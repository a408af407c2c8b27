// Package histogram counts distributions without allocating: exponential histograms as the OpenTelemetry
// metrics data model defines them, or histograms with explicit boundaries.
//
// It knows no pdata; package otlp turns what it holds into data points.
package histogram
