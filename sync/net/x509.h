/*
 * sync/net/x509.h - the built-in private CA: certificates for a gateway or a node without a
 * hospital PKI.
 *
 * Keys are ECDSA P-256. PEM texts come back in malloc'ed strings (free()); private keys are wiped
 * by the caller.
 */
#ifndef SYNC_NET_X509_H
#define SYNC_NET_X509_H

#include <stdbool.h>
#include <stdint.h>

#include "sync/base/err.h"

enum { NET_X509_LEAF_DAYS = 397, NET_X509_CA_DAYS = 3650, NET_X509_NAMES_MAX = 16 };

/* name: the CA's common name, e.g. "Everward private CA of Alder". */
int net_x509_make_ca(const char *name, int64_t now_s, char **cert_pem, char **key_pem,
                     struct base_err *err);
/* names: DNS names and IP addresses for the SAN, NULL-terminated; the first is the common name. */
int net_x509_make_leaf(const char *ca_cert_pem, const char *ca_key_pem, const char *const names[],
                       int64_t now_s, char **cert_pem, char **key_pem, struct base_err *err);
/* SHA-256 over the DER of the first certificate in the PEM text. */
int net_x509_fingerprint(const char *cert_pem, uint8_t out[32], struct base_err *err);
int net_x509_expiry(const char *cert_pem, int64_t *not_after_s, struct base_err *err);
/* Whether leaf should be replaced now: a third or less of its life is left, it begins in the future (made while the clock
 * was wrong), or leaf_key is another certificate's. A text that is no key at all does not fit. */
int net_x509_renew_due(const char *leaf_pem, const char *leaf_key_pem, int64_t now_s, bool *due,
                       struct base_err *err);
/* A new leaf with a new key for the names of an old one. BASE_EDENIED: the old one is of another CA. */
int net_x509_renew_leaf(const char *ca_cert_pem, const char *ca_key_pem, const char *leaf_pem,
                        int64_t now_s, char **cert_pem, char **key_pem, struct base_err *err);

#endif
