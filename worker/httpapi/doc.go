// Package httpapi is the HTTP front door: POST /v1/users and POST /users become submissions, and their answers become
// responses, byte for byte.
//
// Whatever goes wrong is answered with the API's error object, on every path and for every method; a panic is too, and
// ends neither the connection nor the process. A request is bounded in size, in number at the same time, and in time.
//
// The tenant of a request is that of X-Tenant-ID. POST /users, whose page names no such header, may leave it out; then
// it is the tenant of the credential. The front door only finds the tenant; everything is checked in the pipeline, as it
// is for the other doors.
package httpapi
