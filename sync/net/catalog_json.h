/*
 * sync/net/catalog_json.h - the catalog document (docs/PROTOCOL.md, "catalog") into
 * sync/core/catalog.h.
 *
 * A class, type or api word this program does not know makes the column `review` / refuses the
 * document, never ignores it.
 */
#ifndef SYNC_NET_CATALOG_JSON_H
#define SYNC_NET_CATALOG_JSON_H

#include "sync/core/catalog.h"

enum { NET_CATALOG_BYTES_MAX = 4 * 1024 * 1024 };

int net_catalog_parse(struct core_catalog *out, const char *json, size_t len, struct base_err *err);

#endif
