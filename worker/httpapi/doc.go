// Package httpapi is the HTTP front door: POST /v1/users and POST /users become submissions, and their answers become
// responses, byte for byte.
//
// Whatever goes wrong is answered with the API's error object, on every path and for every method; a panic is too, and
// ends neither the connection nor the process.
//
// The sender is proved from the headers, before anything of the body is read; what fails there is answered and the
// connection closed. A body is bounded in size and in time, and all bodies together in memory. Only a request whose body is
// there takes one of the places. Memory and places are shared by tenants and addresses, so that none can have them all.
//
// The tenant of a request is that of X-Tenant-ID. POST /users, whose page names no such header, may leave it out; then
// it is the tenant of the credential. The front door only finds the tenant; everything is checked in the pipeline, as it
// is for the other doors.
package httpapi
