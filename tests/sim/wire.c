/* Feeds, pages and catalogs as the texts of docs/PROTOCOL.md, for the real store. */
#include "tests/sim/wire.h"

static const char tenant[] = "11111111-1111-4111-8111-111111111111";

void sim_timeline(struct base_uuid *out, int64_t timeline)
{
    *out = (struct base_uuid){{0x44, 0, 0, 0, 0, 0, 0x40, 0, 0x80}};
    out->bytes[15] = (uint8_t)timeline;
}

void sim_tenant(struct base_uuid *out)
{
    (void)base_uuid_parse(out, tenant, BASE_UUID_CHARS);
}

static void add_id(struct base_buf *b, const struct base_uuid *id)
{
    char text[BASE_UUID_CHARS + 1];
    base_uuid_format(id, text);
    base_buf_printf(b, "\"%s\"", text);
}

static void add_array(struct base_buf *b, const struct sim_world *w, const struct sim_line *l)
{
    struct base_uuid id;
    int last = SIM_COLUMNS;
    while (last > 0 && l->v.v[last - 1] == 0)
        last--;
    sim_id(&id, l->table, l->row);
    base_buf_char(b, '[');
    add_id(b, &id);
    base_buf_printf(b, ",\"%s\",\"%lld\"", tenant, (long long)l->rev);
    for (int i = 0; i < last; i++) {
        struct core_text v = sim_text(w, l->v.v[i]);
        base_buf_char(b, ',');
        if (v.s == NULL)
            base_buf_str(b, "null");
        else
            base_buf_json(b, v.s, v.len);
    }
    base_buf_char(b, ']');
}

static void add_line(struct base_buf *b, const struct sim_world *w, const struct sim_line *l)
{
    struct base_uuid id;
    switch (l->kind) {
    case SIM_LINE_CUT:
        base_buf_printf(b, "{\"cut\":%lld}", (long long)l->cut);
        break;
    case SIM_LINE_TXN:
        base_buf_str(b, "{\"txn\":1,\"at\":\"2026-11-23T06:00:00.123Z\"");
        if (l->node >= 0) {
            sim_node_id(&id, l->node);
            base_buf_str(b, ",\"node\":");
            add_id(b, &id);
            base_buf_printf(b, ",\"inc\":%lld,\"seq\":%lld", (long long)l->inc, (long long)l->seq);
        }
        base_buf_char(b, '}');
        break;
    case SIM_LINE_ROW:
        base_buf_printf(b, "[\"%s\",\"%c\",", sim_table_of(w, 3, l->table)->name, (char)l->op);
        add_array(b, w, l);
        base_buf_char(b, ']');
        break;
    case SIM_LINE_END:
        base_buf_printf(b, "{\"end\":%lld,\"changes\":%lld}", (long long)l->cut,
                        (long long)l->changes);
        break;
    case SIM_LINE_DONE:
        base_buf_printf(b, "{\"done\":%lld,\"more\":%s}", (long long)l->cut,
                        l->more ? "true" : "false");
        break;
    }
    base_buf_char(b, '\n');
}

static void cut_off(struct base_buf *b, const struct sim_reply *r)
{
    if (r->cut_off && b->data != NULL)
        b->data[b->len = b->len * 2 / 3] = '\0';
}

void sim_feed_text(struct base_buf *b, const struct sim_world *w, const struct sim_reply *r)
{
    struct base_uuid id;
    sim_timeline(&id, r->timeline);
    base_buf_printf(b, "{\"format\":\"everward-feed/1\",\"tenant\":\"%s\",\"timeline\":", tenant);
    add_id(b, &id);
    base_buf_printf(b, ",\"catalog\":%lld,\"after\":%lld,\"head\":%lld}\n", (long long)r->catalog,
                    (long long)r->after, (long long)r->head);
    for (int i = 0; i < r->line_count; i++)
        add_line(b, w, &r->lines[i]);
    cut_off(b, r);
}

void sim_page_text(struct base_buf *b, const struct sim_world *w, const struct sim_reply *r)
{
    struct base_uuid id;
    base_buf_printf(b,
                    "{\"format\":\"everward-page/1\",\"tenant\":\"%s\",\"table\":\"%s\","
                    "\"catalog\":%lld,\"head\":%lld}\n",
                    tenant, sim_table_of(w, 3, r->table)->name, (long long)w->centre.catalog,
                    (long long)r->head);
    for (int i = 0; i < r->line_count; i++) {
        add_array(b, w, &r->lines[i]);
        base_buf_char(b, '\n');
    }
    base_buf_printf(b, "{\"rows\":%d,\"next\":", r->line_count);
    if (r->next >= 0 && r->line_count > 0) {
        sim_id(&id, r->table, r->lines[r->line_count - 1].row);
        add_id(b, &id);
    } else {
        base_buf_str(b, "null");
    }
    base_buf_str(b, "}\n");
    cut_off(b, r);
}

void sim_catalog_text(struct base_buf *b, const struct core_catalog *c)
{
    base_buf_printf(b, "{\"format\":\"everward-catalog/1\",\"version\":%lld,\"tables\":[",
                    (long long)c->version);
    for (int t = 0; t < c->table_count; t++) {
        const struct core_table *ct = &c->tables[t];
        base_buf_printf(b,
                        "%s{\"tbl\":%d,\"name\":\"%s\",\"class\":\"%s\",\"deletable\":%s,"
                        "\"push_only\":false,\"order\":%d,\"columns\":[",
                        t == 0 ? "" : ",", ct->tbl, ct->name, core_class_name(ct->class),
                        ct->deletable ? "true" : "false", ct->order);
        for (int i = 0; i < ct->column_count; i++) {
            const struct core_column *k = &ct->columns[i];
            base_buf_printf(b,
                            "%s{\"ord\":%d,\"name\":\"%s\",\"type\":\"text\",\"null\":true,"
                            "\"class\":\"%s\",\"group\":%s%s%s,\"api\":\"rw\",\"allowed\":null,"
                            "\"ref\":null}",
                            i == 0 ? "" : ",", k->ord, k->name, core_class_name(k->class),
                            k->group == NULL ? "" : "\"", k->group == NULL ? "null" : k->group,
                            k->group == NULL ? "" : "\"");
        }
        base_buf_str(b, "],\"indexes\":[]}");
    }
    base_buf_str(b, "]}");
}
