// The documentation of the REST endpoints.
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js';
import 'swagger-ui-dist/swagger-ui.css';

SwaggerUI({ url: '/openapi.json', domNode: document.getElementById('docs'), deepLinking: true });
