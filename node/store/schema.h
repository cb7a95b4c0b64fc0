/*
 * node/store/schema.h - the files of schema/node, put into the program by CMake, in order of name.
 */
#ifndef NODE_STORE_SCHEMA_H
#define NODE_STORE_SCHEMA_H

struct node_schema_file {
    const char *name; /* NULL ends the list */
    const char *sql;
};
extern const struct node_schema_file node_schema[];

#endif
