#include "sync/net/fetch.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

static size_t take(char *bytes, size_t size, size_t count, void *user)
{
    struct base_buf *reply = user;
    base_buf_add(reply, bytes, size * count);
    return base_buf_check(reply) == 0 ? size * count : 0;
}

static int translate(CURLcode code, const struct net_fetch *f, struct base_err *err)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return base_fail(err, BASE_EAUTH, "%s: its certificate is not from the pinned CA", f->url);
    case CURLE_OPERATION_TIMEDOUT:
        return base_fail(err, BASE_ETIMEDOUT, "%s: no answer in time", f->url);
    case CURLE_WRITE_ERROR:
        return base_fail(err, BASE_ETOOBIG, "%s: the answer is too large", f->url);
    case CURLE_OUT_OF_MEMORY:
        return base_fail(err, BASE_ENOMEM, "%s: out of memory", f->url);
    default:
        return base_fail(err, BASE_EUNREACHABLE, "%s: %s", f->url, curl_easy_strerror(code));
    }
}

static void configure(CURL *c, const struct net_fetch *f, struct base_buf *reply)
{
    (void)curl_easy_setopt(c, CURLOPT_URL, f->url);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
    (void)curl_easy_setopt(c, CURLOPT_SSLVERSION,
                           f->tls12 ? (long)CURL_SSLVERSION_TLSv1_2
                                    : (long)CURL_SSLVERSION_TLSv1_3);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, f->timeout_ms > 0 ? f->timeout_ms : NET_FETCH_MS);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, reply);
    if (f->ca_path != NULL) {
        (void)curl_easy_setopt(c, CURLOPT_CAINFO, f->ca_path);
        (void)curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    }
    if (f->user != NULL) {
        (void)curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        (void)curl_easy_setopt(c, CURLOPT_USERNAME, f->user);
        (void)curl_easy_setopt(c, CURLOPT_PASSWORD, f->password);
    }
    if (f->unverified) {
        (void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

int net_fetch(const struct net_fetch *f, struct base_buf *reply, long *status, struct base_err *err)
{
    BASE_ASSERT(!f->unverified || f->body == NULL);
    CURL *c = curl_easy_init();
    if (c == NULL)
        return base_fail(err, BASE_ENOMEM, "libcurl could not be started");
    char type[128];
    (void)snprintf(type, sizeof type, "Content-Type: %s",
                   f->type == NULL ? "application/json" : f->type);
    struct curl_slist *headers = f->body == NULL ? NULL : curl_slist_append(NULL, type);
    configure(c, f, reply);
    if (f->body != NULL) {
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, f->body);
        (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    }
    int rc = translate(curl_easy_perform(c), f, err);
    if (rc == 0)
        (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    return rc;
}
