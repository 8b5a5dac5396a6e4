-- JSON functions and operators.
SELECT id, doc->'items'->0->>'sku', doc#>'{items,0}', doc#>>'{items,1,n}', doc->>'status' FROM o
SELECT id, doc ? 'note', doc ?| ARRAY['note', 'nope'], doc ?& ARRAY['note', 'score'], tags ? 'a' FROM o
SELECT id FROM o WHERE doc @> '{"status": "paid"}' OR tags @> '["c"]' OR '["a", "b", "z"]'::jsonb @> tags
SELECT id, doc - 'items' - 'tags', doc - ARRAY['items', 'doc', 'tags'], (doc->'tags') - 0, doc #- '{items,0}' FROM o
SELECT id, doc || '{"extra": 1}', tags || '["z"]', tags || '"z"' FROM o
SELECT id, json_build_object('id', id, 'total', total, 'at', at), jsonb_build_array(id, note, paid, tags) FROM o
SELECT id, jsonb_array_length(tags), json_array_length(items::json), jsonb_typeof(doc->'total'), jsonb_typeof(doc->'note') FROM o
SELECT id, x FROM o, jsonb_array_elements(items) x
SELECT id, x->>'sku', (x->>'price')::numeric FROM o CROSS JOIN LATERAL jsonb_array_elements(items) AS t(x)
SELECT id, x, n FROM o LEFT JOIN LATERAL jsonb_array_elements_text(tags) WITH ORDINALITY t(x, n) ON true
SELECT id, key, value FROM o, jsonb_each(doc - 'items')
SELECT id, key, value FROM o, jsonb_each_text(items->0)
SELECT id, k FROM o, jsonb_object_keys(items->0) k
SELECT id, jsonb_array_elements(tags) FROM o
SELECT id, jsonb_array_elements_text(tags) AS tag, jsonb_array_elements(items) AS item FROM o
SELECT id, jsonb_set(doc - 'items', '{status}', '"x"'), jsonb_set(doc->'tags', '{0}', '1', false), jsonb_set(items, '{0,price}', '9') FROM o
SELECT id, jsonb_insert(tags, '{0}', '"first"'), jsonb_insert(tags, '{0}', '"after"', true), jsonb_set_lax('{"a": 1}'::jsonb, '{a}', NULL, true, 'delete_key') FROM o
SELECT id, jsonb_strip_nulls(doc) - 'items', jsonb_pretty(tags) FROM o
SELECT id, jsonb_path_exists(doc, '$.items[*] ? (@.n > 1)'), jsonb_path_match(doc, '$.qty > 2'), doc @? '$.tags[*] ? (@ == "a")', doc @@ '$.qty == 1' FROM o
SELECT id, jsonb_path_query_array(doc, '$.items[*].price'), jsonb_path_query_first(doc, '$.items[*] ? (@.price > $p)', '{"p": 2}') FROM o
SELECT id, x FROM o, jsonb_path_query(doc, '$.items[*] ? (@.n < 3).sku') x
SELECT id, jsonb_path_query_array(doc, '$.items[last].n'), jsonb_path_query_array(doc, '$.items.size()'), jsonb_path_query_array(doc, '$.tags[*].type()') FROM o
SELECT id, jsonb_path_query_array(doc, '$.note ? (@ like_regex "^r")'), jsonb_path_query_array(doc, '$.items[*].price.floor()'), jsonb_path_query_array(items, '$[0].n') FROM o
SELECT id, r.sku, r.n, r.price FROM o, jsonb_to_recordset(items) AS r(sku text, n int, price numeric)
SELECT id, r.* FROM o, jsonb_to_record(doc) AS r(status text, qty int, tags jsonb)
SELECT id, r.* FROM o, json_to_record(doc::json) AS r(status text, tags text[])
SELECT id, to_jsonb(at), to_jsonb(note), to_jsonb(ARRAY[qty, 1]), to_json(total), to_jsonb(paid) FROM o
SELECT id, row_to_json(q) FROM (SELECT id, status, total FROM o) q
SELECT to_jsonb(q) FROM (SELECT id, tags AS t, at FROM o) q
SELECT id, array_to_json(ARRAY[id, qty]), json_object('{a,1,b,2}'), jsonb_object(ARRAY['k'], ARRAY[note]) FROM o
SELECT id, (doc->'qty')::int, (doc->'total')::numeric, (doc->'score')::float8, doc->'qty' = '3' FROM o
SELECT tags, count(*) FROM o GROUP BY tags
SELECT doc->'items'->0, count(*) FROM o GROUP BY 1
SELECT id FROM o WHERE doc->'qty' > '2' ORDER BY doc->'total', id
SELECT id, doc->'tags'->-1, doc->'tags'->>0, doc->'tags'->5, doc->'nope'->'x' FROM o
SELECT id, doc['status'], doc['items'][0]['sku'], tags[0] FROM o
SELECT id, jsonb_array_length(jsonb_path_query_array(items, '$[*] ? (@.sku == "a" || @.n == 2)')) FROM o
SELECT id, json_strip_nulls('{"a": null, "b": 1}'::json), json_typeof('[1]'::json), json_extract_path_text(doc::json, 'items', '0', 'sku'), jsonb_extract_path(doc, 'items', '0') FROM o
SELECT DISTINCT k FROM o, LATERAL (SELECT k FROM jsonb_object_keys(doc) AS k) s
SELECT id, (SELECT jsonb_agg(x->'n') FROM jsonb_array_elements(items) x), (SELECT string_agg(x, '') FROM jsonb_array_elements_text(tags) x WHERE x <> 'a') FROM o
SELECT id, (SELECT sum((x->>'price')::numeric) FROM jsonb_array_elements(items) x), (SELECT count(*) FROM jsonb_array_elements(items) x WHERE x->>'sku' = 'a') FROM o
SELECT id FROM o WHERE EXISTS (SELECT 1 FROM jsonb_array_elements_text(tags) t WHERE t = 'b')
SELECT x->>'sku' AS sku, count(*), sum((x->>'n')::int) FROM o, jsonb_array_elements(items) x GROUP BY 1
SELECT id, ARRAY(SELECT jsonb_array_elements_text(tags)) FROM o
SELECT id, string_to_array(note, ' '), array_to_string(ARRAY(SELECT x FROM jsonb_array_elements_text(tags) x ORDER BY x), '+') FROM o
SELECT jsonb_path_query('[1, 2, 3]', '$[*] ? (@ > 1)')
SELECT jsonb_build_object()::text, json_build_array()::text
