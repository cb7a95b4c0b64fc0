/* node/cli/training.h - what `everward training` fills a replica from (node/training, embedded by the build). */
#ifndef NODE_CLI_TRAINING_H
#define NODE_CLI_TRAINING_H

#include <stddef.h>

/* A head line, then pages as PROTOCOL.md's bootstrap has them; and the catalog they are of. */
extern const unsigned char training_hospital[];
extern const size_t training_hospital_len;
extern const unsigned char training_catalog[];
extern const size_t training_catalog_len;

#endif
