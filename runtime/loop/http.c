/* SPDX-License-Identifier: MIT
 * The web server of a loop. evhttp calls back inside event_base_loop, which cannot be entered
 * twice; so a request is only noted there, and a message to the loop hands it out at the next turn.
 *
 * evhttp's own timeout begins anew with each byte. Therefore each connection also has a timer of
 * its own that cuts it off, and for that a reference to its bufferevent. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <math.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "lethe/http.h"
#include "loop_internal.h"

struct lethe_http {
  unsigned refs; /* the owner's, and one while the message is posted */
  const struct lethe_alloc *alloc;
  struct lethe_loop *loop;
  struct lethe_host *host; /* the loop may close first */
  struct evhttp *server;   /* NULL: stopped */
  uint16_t port;
  struct timeval limit; /* of a connection */
  lethe_http_answer *answer;
  void *ud;
  struct lethe_message message;
  bool posted;
  struct lethe_list waiting, handed; /* requests: not handed out yet; handed out, not replied to */
  struct lethe_list connections;
};

struct lethe_http_request {
  struct lethe_list node;
  struct lethe_http *http;
  struct evhttp_request *req;
  size_t size;
  char path[];
};

struct connection {
  struct lethe_list node;
  struct lethe_http *http;
  struct bufferevent *stream;
  struct event *deadline;
};

static void put(struct lethe_http *h) {
  if (--h->refs > 0) return;
  lethe_host_put(h->host);
  lethe_loop_put(h->loop);
  lethe_free(h->alloc, h, sizeof *h);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void forget(struct connection *c) {
  lethe_list_remove(&c->node);
  event_free(c->deadline);
  bufferevent_decref(c->stream);
  lethe_free(c->http->alloc, c, sizeof *c);
}

static void on_deadline(evutil_socket_t fd, short what, void *ud) {
  struct connection *c = ud;
  (void)what;
  fd = bufferevent_getfd(c->stream);
  if (fd >= 0) shutdown(fd, SHUT_RDWR); /* evhttp finds it closed, and lets go of the rest */
  forget(c);
}

/* Without memory for it the connection has evhttp's timeout alone. */
static void watch(struct lethe_http *h, struct bufferevent *stream) {
  struct connection *c = lethe_zalloc(h->alloc, sizeof *c);
  if (!c) return;
  c->deadline = lethe_host_event(h->host, -1, 0, on_deadline, c);
  if (!c->deadline || event_add(c->deadline, &h->limit) != 0) {
    if (c->deadline) event_free(c->deadline);
    lethe_free(h->alloc, c, sizeof *c);
    return;
  }
  c->http = h;
  c->stream = stream;
  bufferevent_incref(stream);
  lethe_list_push(&h->connections, &c->node);
}

static struct bufferevent *on_connection(struct event_base *base, void *ud) {
  struct bufferevent *stream = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
  if (stream) watch(ud, stream);
  return stream;
}

static void on_closed(struct evhttp_connection *connection, void *ud) {
  struct lethe_http *h = ud;
  const struct bufferevent *stream = evhttp_connection_get_bufferevent(connection);
  LETHE_LIST_EACH(node, &h->connections) {
    struct connection *c = lethe_container_of(node, struct connection, node);
    if (c->stream != stream) continue;
    forget(c);
    return;
  }
}

/* ---- requests -------------------------------------------------------------------------------- */

/* 127.0.0.1, localhost and [::1], with or without a port. */
static bool is_here(const char *host) {
  static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};
  for (size_t i = 0; host && i < sizeof names / sizeof names[0]; i++) {
    size_t n = strlen(names[i]);
    if (strncasecmp(host, names[i], n) != 0) continue;
    if (host[n] == '\0' || (host[n] == ':' && strspn(host + n + 1, "0123456789") > 0 &&
                            host[n + 1 + strspn(host + n + 1, "0123456789")] == '\0'))
      return true;
  }
  return false;
}

static void respond(struct evhttp_request *req, int status, const char *type, const void *body,
                    size_t n) {
  struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
  struct evbuffer *out = lethe_fault(LETHE_FAULT_ALLOC) ? NULL : evbuffer_new();
  if (out && evbuffer_add(out, body, n) == 0) {
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    if (status == 405) evhttp_add_header(headers, "Allow", "GET");
  } else {
    status = 503;
  }
  evhttp_add_header(headers, "Connection", "close");
  evhttp_send_reply(req, status, NULL, out);
  if (out) evbuffer_free(out);
}

static void refuse(struct evhttp_request *req, int status, const char *why) {
  respond(req, status, "text/plain; charset=utf-8", why, strlen(why));
}

static void end_request(struct lethe_http_request *r) {
  lethe_list_remove(&r->node);
  lethe_free(r->http->alloc, r, r->size);
}

static void hand_out(struct lethe_message *m, bool closed) {
  struct lethe_http *h = lethe_container_of(m, struct lethe_http, message);
  struct lethe_list *node;
  h->posted = false;
  while (!closed && (node = lethe_list_shift(&h->waiting)) != NULL) {
    struct lethe_http_request *r = lethe_container_of(node, struct lethe_http_request, node);
    lethe_list_push(&h->handed, node);
    h->answer(h->ud, r, r->path);
  }
  put(h);
}

static bool note(struct lethe_http *h, struct evhttp_request *req, const char *path) {
  size_t n = strlen(path) + 1;
  struct lethe_http_request *r = lethe_malloc(h->alloc, sizeof *r + n);
  if (!r) return false;
  *r = (struct lethe_http_request){.http = h, .req = req, .size = sizeof *r + n};
  memcpy(r->path, path, n);
  lethe_list_push(&h->waiting, &r->node);
  if (!h->posted && lethe_loop_post(h->loop, &h->message)) {
    h->posted = true;
    h->refs++;
  }
  return true;
}

/* One Host header at least, and none that names another machine. */
static bool is_asked_here(const struct evkeyvalq *headers) {
  const struct evkeyval *h;
  bool named = false;
  for (h = headers->tqh_first; h; h = h->next.tqe_next) {
    if (strcasecmp(h->key, "Host") != 0) continue;
    if (!is_here(h->value)) return false;
    named = true;
  }
  return named;
}

/* "GET http://here/path" names its host there too; in "GET //path" there is none, whatever
 * libevent reads. */
static bool is_ours(struct evhttp_request *req, const char **path) {
  const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
  const char *host = evhttp_uri_get_host(uri);
  *path = evhttp_uri_get_path(uri);
  if (host && *evhttp_request_get_uri(req) == '/')
    *path = evhttp_request_get_uri(req);
  else if (host && !is_here(host))
    return false;
  return is_asked_here(evhttp_request_get_input_headers(req));
}

static void on_request(struct evhttp_request *req, void *ud) {
  struct lethe_http *h = ud;
  const char *path;
  evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_closed, h);
  if (!is_ours(req, &path))
    refuse(req, 403, "this server answers on its own machine alone\n");
  else if (evhttp_request_get_command(req) != EVHTTP_REQ_GET)
    refuse(req, 405, "only GET\n");
  else if (evbuffer_get_length(evhttp_request_get_input_buffer(req)) > 0)
    refuse(req, 413, "GET has no body\n");
  else if (!note(h, req, path && *path ? path : "/"))
    refuse(req, 503, "not enough memory\n");
}

void lethe_http_reply(struct lethe_http_request *r, int status, const char *type, const void *body,
                      size_t n) {
  respond(r->req, status, type, body, n);
  end_request(r);
}

/* ---- servers --------------------------------------------------------------------------------- */

static int begin(struct lethe_http *h, uint16_t port) {
  struct sockaddr_storage address;
  socklen_t n = sizeof address;
  h->server = lethe_fault(LETHE_FAULT_ALLOC) ? NULL : evhttp_new(h->host->events);
  if (!h->server) return LETHE_ENOMEM;
  evhttp_set_allowed_methods(h->server, UINT16_MAX); /* on_request refuses them */
  evhttp_set_max_headers_size(h->server, LETHE_HTTP_HEADERS);
  evhttp_set_max_body_size(h->server, LETHE_HTTP_BODY);
  evhttp_set_timeout_tv(h->server, &h->limit);
  evhttp_set_bevcb(h->server, on_connection, h);
  evhttp_set_gencb(h->server, on_request, h);
  EVUTIL_SET_SOCKET_ERROR(0);
  struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(h->server, "127.0.0.1", port);
  if (!bound) return EVUTIL_SOCKET_ERROR() == EADDRINUSE ? LETHE_EINUSE : LETHE_ESYSTEM;
  if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &n) != 0)
    return LETHE_ESYSTEM;
  h->port = ntohs(((struct sockaddr_in *)&address)->sin_port);
  return LETHE_OK;
}

int lethe_http_start(struct lethe_http **out, const struct lethe_alloc *a, struct lethe_loop *loop,
                     uint16_t port, double seconds, lethe_http_answer *answer, void *ud) {
  if (loop->closed) return LETHE_ECLOSED;
  struct lethe_http *h = lethe_zalloc(a, sizeof *h);
  if (!h) return LETHE_ENOMEM;
  h->refs = 1;
  h->alloc = a;
  h->loop = lethe_loop_get(loop);
  h->host = loop->host;
  lethe_ref_get(&h->host->refs);
  if (seconds <= 0) seconds = LETHE_HTTP_SECONDS;
  h->limit = (struct timeval){(time_t)seconds, (suseconds_t)((seconds - floor(seconds)) * 1e6)};
  h->answer = answer;
  h->ud = ud;
  h->message.run = hand_out;
  lethe_list_init(&h->waiting);
  lethe_list_init(&h->handed);
  lethe_list_init(&h->connections);
  int rc = begin(h, port);
  if (rc) {
    if (h->server) evhttp_free(h->server);
    put(h);
    return rc;
  }
  lethe_loop_sockets(loop, 1);
  lethe_loop_hold(loop);
  *out = h;
  return LETHE_OK;
}

uint16_t lethe_http_port(const struct lethe_http *h) { return h->port; }

static void refuse_all(struct lethe_list *requests) {
  while (!lethe_list_empty(requests)) {
    struct lethe_http_request *r =
        lethe_container_of(requests->next, struct lethe_http_request, node);
    refuse(r->req, 503, "this server is closing\n");
    end_request(r);
  }
}

void lethe_http_stop(struct lethe_http *h) {
  refuse_all(&h->waiting);
  refuse_all(&h->handed);
  while (!lethe_list_empty(&h->connections))
    forget(lethe_container_of(h->connections.next, struct connection, node));
  evhttp_free(h->server);
  h->server = NULL;
  lethe_loop_sockets(h->loop, -1);
  lethe_loop_release(h->loop);
  put(h);
}
