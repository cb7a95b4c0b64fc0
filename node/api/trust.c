/*
 * /trust: how a device comes to trust this node. For anybody, so there is no data here but the certificate of the
 * authority, which is public, and the address the caller has used.
 */
#include <qrencode.h>
#include <string.h>

#include "node/api/internal.h"
#include "sync/net/x509.h"

enum { HOST_BYTES_MAX = 255, QR_MARGIN = 4, QR_PATH_BYTES_MAX = 256 * 1024 };

/* The address as the caller typed it; only what an address is made of, for it goes into pages. */
static void host_of(const struct net_http_exchange *x, char out[HOST_BYTES_MAX + 1])
{
    const char *host = net_http_header(x, "Host");
    size_t n = 0;
    for (; host != NULL && host[n] != '\0' && n < HOST_BYTES_MAX; n++) {
        char c = host[n];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    strchr(".-:[]", c) != NULL;
        out[n] = good ? c : '-';
    }
    out[n] = '\0';
}

int api_qr_path(struct base_buf *out, const char *text)
{
    QRcode *qr = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M);
    int side = qr == NULL ? 0 : qr->width + 2 * QR_MARGIN;
    for (int y = 0; qr != NULL && y < qr->width; y++)
        for (int x = 0; x < qr->width; x++)
            if ((qr->data[y * qr->width + x] & 1) != 0)
                base_buf_printf(out, "M%d %dh1v1h-1z", x + QR_MARGIN, y + QR_MARGIN);
    QRcode_free(qr);
    return side;
}

/* The way to this page, to be scanned from a screen that is open already. */
static void qr_write(struct base_buf *out, const char *text)
{
    struct base_buf path;
    base_buf_init(&path, QR_PATH_BYTES_MAX);
    int side = api_qr_path(&path, text);
    if (side > 0 && base_buf_check(&path) == 0)
        base_buf_printf(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"240\" "
            "height=\"240\" role=\"img\" aria-label=\"QR code of this page's address\">"
            "<path fill=\"#fff\" d=\"M0 0h%dv%dH0z\"/><path d=\"%s\"/></svg>",
            side, side, side, side, path.data);
    base_buf_release(&path);
}

static void reply(struct api_call *c, const char *type, const char *file_name)
{
    char disposition[128];
    if (base_buf_check(&c->body) != 0) {
        api_refuse_rc(c, c->body.rc, "the page does not fit");
        api_finish(c);
        return;
    }
    api_headers(c);
    if (file_name != NULL) {
        snprintf(disposition, sizeof disposition, "attachment; filename=\"%s\"", file_name);
        net_http_reply_header(c->x, "Content-Disposition", disposition);
    }
    net_http_reply(c->x, 200, type, c->body.data, c->body.len);
    api_free(c);
}

static struct api_call *begin(struct net_http_exchange *x, struct node_api *a)
{
    struct api_call *c = api_begin_open(x, a);
    if (c == NULL || a->ca_pem != NULL)
        return c;
    api_refuse(c, 404, "not_found", NULL, "this node uses a certificate of the hospital");
    api_finish(c);
    return NULL;
}

/* The page runs the app's own test and nothing else. */
static const char page_policy[] =
    "default-src 'none'; script-src 'self'; worker-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

void api_on_trust(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    char host[HOST_BYTES_MAX + 1];
    char url[HOST_BYTES_MAX + 32];
    struct api_call *c = api_begin_open(x, a);
    if (c == NULL)
        return;
    host_of(x, host);
    snprintf(url, sizeof url, "https://%s/trust", host);
    base_buf_printf(
        &c->body,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width\"><title>Trust this node</title><h1>Trust this node</h1>"
        "<p>Tablets and workstations trust it by its own certificate authority. Compare this "
        "fingerprint (SHA-256) with the one your IT shows you, on paper or on its own "
        "screen, before you install anything:</p><p><code>%s</code></p>"
        "<h2>iPad, iPhone, Mac</h2><p><a href=\"/trust/ca.mobileconfig\">Download the profile</a>; "
        "Settings, Profile Downloaded, Install; then Settings, General, About, Certificate Trust "
        "Settings: switch it on.</p>"
        "<h2>Android</h2><p><a href=\"/trust/ca.crt\">Download the certificate</a>; Settings, "
        "Security, Encryption and credentials, Install a certificate, CA certificate.</p>"
        "<h2>Windows</h2><p><a href=\"/trust/ca.crt\">Download the certificate</a>, open it, "
        "Install, Local Machine, Trusted Root Certification Authorities.</p>"
        "<h2>Linux</h2><p>Copy <a href=\"/trust/ca.crt\">the certificate</a> to "
        "<code>/usr/local/share/ca-certificates/</code> and run "
        "<code>update-ca-certificates</code>; Firefox: Settings, Certificates, Import.</p>"
        "<h2>Done?</h2><p>Open <a href=\"https://%s/\">https://%s/</a>: it opens without a "
        "warning.</p><p id=\"test\" role=\"status\">The test needs JavaScript.</p>"
        "<script type=\"module\" src=\"/app/trust.js\"></script>"
        "<p>Another device: scan this.</p>",
        a->ca_fingerprint, host, host);
    qr_write(&c->body, url);
    base_buf_str(&c->body, "</html>\n");
    if (base_buf_check(&c->body) != 0) {
        reply(c, "text/html; charset=utf-8", NULL); /* the refusal */
        return;
    }
    api_headers_for(c, page_policy);
    net_http_reply(x, 200, "text/html; charset=utf-8", c->body.data, c->body.len);
    api_free(c);
}

void api_on_trust_ca(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    struct api_call *c = begin(x, a);
    if (c == NULL)
        return;
    base_buf_str(&c->body, a->ca_pem);
    reply(c, "application/x-x509-ca-cert", "everward-ca.crt");
}

void api_on_trust_qr(struct net_http_exchange *x, void *user)
{
    char host[HOST_BYTES_MAX + 1];
    char url[HOST_BYTES_MAX + 32];
    struct api_call *c = api_begin_open(x, user);
    if (c == NULL)
        return;
    host_of(x, host);
    snprintf(url, sizeof url, "https://%s/trust", host);
    qr_write(&c->body, url);
    reply(c, "image/svg+xml", NULL);
}

void api_on_trust_info(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    char host[HOST_BYTES_MAX + 1];
    int64_t not_after_s = 0;
    struct api_call *c = api_begin_open(x, a);
    if (c == NULL)
        return;
    host_of(x, host);
    base_buf_str(&c->body, "{\"fingerprint\":");
    base_buf_json_str(&c->body, a->ca_fingerprint[0] != '\0' ? a->ca_fingerprint : NULL);
    base_buf_str(&c->body, ",\"host\":");
    base_buf_json_str(&c->body, host);
    api_render_time(&c->body, "not_after",
                    a->ca_pem != NULL && net_x509_expiry(a->ca_pem, &not_after_s, NULL) == 0
                        ? not_after_s * 1000
                        : 0);
    api_render_time(&c->body, "certificate_not_after", a->cert_until_s * 1000);
    base_buf_char(&c->body, '}');
    reply(c, "application/json", NULL);
}

/* Ids of a profile must stay the same for the same certificate: installing it again replaces it. */
static void profile_id(const struct node_api *a, const char *what, char out[BASE_UUID_CHARS + 1])
{
    struct base_uuid id;
    char name[128];
    int n = snprintf(name, sizeof name, "everward profile %s %s", what, a->ca_fingerprint);
    seal_uuid_derived(&id, &node_store_identity(a->store)->tenant_id, name, (size_t)n);
    base_uuid_format(&id, out);
}

/* What stands between the lines of PEM is base64 already. */
static void pem_body(struct base_buf *out, const char *pem)
{
    static const char head[] = "-----BEGIN CERTIFICATE-----";
    const char *s = strstr(pem, head);
    const char *end = s == NULL ? NULL : strstr(s, "-----END");
    for (s = end == NULL ? NULL : s + sizeof head - 1; s != NULL && s < end; s++)
        if (*s != '\r' && *s != '\n')
            base_buf_char(out, *s);
}

void api_on_trust_profile(struct net_http_exchange *x, void *user)
{
    struct node_api *a = user;
    char whole[BASE_UUID_CHARS + 1];
    char part[BASE_UUID_CHARS + 1];
    struct api_call *c = begin(x, a);
    if (c == NULL)
        return;
    profile_id(a, "whole", whole);
    profile_id(a, "certificate", part);
    base_buf_str(
        &c->body,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD "
        "PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n"
        "<plist version=\"1.0\"><dict><key>PayloadContent</key><array><dict>"
        "<key>PayloadCertificateFileName</key><string>everward-ca.crt</string>"
        "<key>PayloadContent</key><data>");
    pem_body(&c->body, a->ca_pem);
    base_buf_printf(
        &c->body,
        "</data><key>PayloadDisplayName</key><string>Everward node</string>"
        "<key>PayloadIdentifier</key><string>org.everward.ca.%s</string>"
        "<key>PayloadType</key><string>com.apple.security.root</string>"
        "<key>PayloadUUID</key><string>%s</string><key>PayloadVersion</key><integer>1</integer>"
        "</dict></array><key>PayloadDisplayName</key><string>Everward: trust this node</string>"
        "<key>PayloadIdentifier</key><string>org.everward.trust.%s</string>"
        "<key>PayloadType</key><string>Configuration</string><key>PayloadUUID</key>"
        "<string>%s</string><key>PayloadVersion</key><integer>1</integer></dict></plist>\n",
        part, part, whole, whole);
    reply(c, "application/x-apple-aspen-config", "everward.mobileconfig");
}
