-- Servers from before the copy was kept that a moved server was made of: none was.
update servers set body = '{"kept_image": null}'::jsonb || body where not body ? 'kept_image';
